"""Tasks that are told to end, end."""

import asyncio

from kodosumi_prefect.cancelling import cancel_all


async def test_a_task_that_loses_cancellations_ends_all_the_same():
    lost = 0

    async def looping():
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                # What asyncio.wait_for of Python 3.11 does when its answer is there already.
                lost += 1
                if lost == 3:
                    raise

    task = asyncio.create_task(looping())
    await asyncio.sleep(0)
    await cancel_all([task])
    assert task.cancelled()
    assert lost == 3


async def test_what_tasks_raised_is_dropped_and_ended_ones_are_fine():
    async def failing():
        raise RuntimeError("no")

    tasks = [asyncio.create_task(failing()), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)
    await cancel_all(tasks)
    assert all(task.done() for task in tasks)
    await cancel_all([])
