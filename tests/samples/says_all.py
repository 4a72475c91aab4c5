"""A flow that says something in every way that a process has, each time another word."""

import atexit
import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from loguru import logger as loguru_logger
from prefect import flow, get_run_logger, task
from prefect.task_runners import ThreadPoolTaskRunner

import kodosumi_prefect

keeps = {"out": sys.stdout}
C = ctypes.CDLL(None)
LONG = 300.0  # seconds; whoever takes so long is to be ended

logging.basicConfig(format="root: %(message)s")
own = logging.getLogger("says_all.own")
own.propagate = False
own.setLevel(logging.INFO)
own.addHandler(logging.StreamHandler())
print("word-import")


def from_c(text: str) -> None:
    C.puts(text.encode())
    C.fflush(None)


def child(word: str) -> None:
    print(f"{word}-print")
    os.write(1, f"{word}-write\n".encode())


def in_children(word: str) -> None:
    for method in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(method)
        process = context.Process(target=child, args=[f"{word}-{method}"])
        process.start()
        process.join()


@flow
def says_all() -> None:
    print("word-print")
    print("word-print-error", file=sys.stderr)
    keeps["out"].write("word-kept-stream\n")
    sys.stdout.buffer.write(b"word-buffer\n")
    sys.stdout.buffer.flush()
    os.write(1, b"word-write\n")
    os.write(2, b"word-write-error\n")
    from_c("word-c")
    subprocess.run(["echo", "word-subprocess"], check=True)
    subprocess.run([sys.executable, "-c", "print('word-python')"], check=True)
    in_children("word")
    thread = threading.Thread(target=print, args=["word-thread"])
    thread.start()
    thread.join()
    own.info("word-own-logger")
    logging.getLogger("says_all.other").warning("word-root-logger")
    loguru_logger.info("word-loguru")
    get_run_logger().info("word-run-logger")
    os.write(1, b"word-without-newline")


@flow
def says_last(way: str) -> None:
    print("last-print")
    os.write(1, b"last-write\n")
    subprocess.run(["echo", "last-subprocess"], check=True)
    if way == "exit":
        os._exit(7)
    elif way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    ctypes.string_at(0)


@flow
def says_much(megabytes: int) -> None:
    """C code that holds the interpreter while it writes more than any pipe takes."""
    line = b"much " * 13 + b"\n"
    libc = ctypes.PyDLL(None)
    data = line * ((megabytes << 20) // len(line))
    libc.write(1, data, len(data))
    print("much-print")


@flow
def says_late() -> None:
    def work() -> None:
        threading.main_thread().join()
        print("late-print")
        os.write(1, b"late-write\n")

    atexit.register(print, "late-atexit-print")
    atexit.register(os.write, 1, b"late-atexit-write\n")
    threading.Thread(target=work).start()


@task
def says_in_task(word: str) -> str:
    print(f"{word}-print")
    os.write(1, f"{word}-write\n".encode())
    from_c(f"{word}-c")
    subprocess.run(["echo", f"{word}-subprocess"], check=True)
    stream = sys.__stdout__  # as one that was kept before anybody stood in for it
    assert stream is not None
    stream.write(f"{word}-kept-stream\n")
    logging.getLogger("says_all.other").warning("%s-root-logger", word)
    get_run_logger().info("%s-run-logger", word)
    from loguru import logger  # a global one would travel with its sink

    logger.info(f"{word}-loguru")
    return word


@kodosumi_prefect.flow
def says_in_tasks() -> None:
    for word in ("first", "second"):
        says_in_task.submit(word).result()


@flow(task_runner=ThreadPoolTaskRunner())
def says_in_threads() -> None:
    says_in_task.submit("threads").result()


@task
def says_in_children(word: str) -> None:
    in_children(word)
    for _ in range(200):  # other writers of one file
        print(f"{word}-mixed-print")
        os.write(1, f"{word}-mixed-write\n".encode())


@kodosumi_prefect.flow
def says_in_children_of_tasks() -> None:
    says_in_children.submit("family").result()


@task
def says_slowly(notes: str) -> None:
    from_c("slow-c")
    while not Path(notes).exists():
        time.sleep(0.02)


@kodosumi_prefect.flow
def says_slowly_in_a_task(notes: str) -> None:
    says_slowly.submit(notes).result()
