"""A further node of a Ray cluster on this machine; a script that lives as long as its raylet.

``ray start`` refuses clusters of several nodes on loopback, so this does as
``ray.cluster_utils.Cluster`` does.
"""

import sys
import time
from pathlib import Path

import ray._private.node
from ray._private.parameter import RayParams

OBJECT_STORE = 80 * 2**20  # bytes
MEMORY = 6 * 2**30  # bytes that Ray gives away, whatever the machine has


def main(address: str, temp_dir: str, name: str) -> None:
    sockets = Path(temp_dir, "sockets")
    sockets.mkdir(exist_ok=True)
    parameters = RayParams(
        gcs_address=address,
        node_ip_address="127.0.0.1",
        num_cpus=1,
        num_gpus=0,
        memory=MEMORY,
        object_store_memory=OBJECT_STORE,
        resources={name: 100},
        min_worker_port=0,
        max_worker_port=0,
        node_manager_port=0,
        dashboard_agent_listen_port=None,
        include_log_monitor=False,
        temp_dir=temp_dir,
        # Names that Ray chooses collide when two nodes start at once.
        raylet_socket_name=str(sockets / f"raylet-{name}"),
        plasma_store_socket_name=str(sockets / f"store-{name}"),
    )
    node = ray._private.node.Node(parameters, head=False, shutdown_at_exit=True, spawn_reaper=True)
    print("ready", flush=True)
    while not node.dead_processes():
        time.sleep(0.1)
    node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
