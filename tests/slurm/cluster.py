"""A SLURM cluster of two nodes on this machine: real munged, slurmctld and slurmd, everything in one folder.

Works as root in a container without systemd, cgroups or accounting. Nothing listens but on the loopback address.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PACKAGES = ("slurm-wlm", "munge")
NODES = ("lare0", "lare1")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIGURATION = """\
ClusterName=lare
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
ReturnToService=2
KillWait=20
MinJobAge=3600
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def install() -> None:
    """Install Debian's SLURM if it is not there.

    Raises:
        RuntimeError: If it is not there, and cannot be installed.
    """
    if all(shutil.which(name, path=PATH) for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun")):
        return
    if not shutil.which("apt-get") or os.geteuid():
        raise RuntimeError(f"SLURM is not installed: install {' and '.join(PACKAGES)}, or run as root on Debian")
    # No daemon of the packages' own is started in runlevel 1.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", "-qq", *command], env=environment, check=True)


class Cluster:
    """The running cluster, as a context. `environment` makes SLURM's commands speak to it.

    Args:
        folder: For its files; a short path, as sockets are in it.
        cpus: Of each node, whatever the machine has.
    """

    def __init__(self, folder: Path, cpus: int = 2) -> None:
        self.folder = folder
        self._cpus = cpus
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
            "PATH": PATH,
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, *command: str, **variables: str) -> str:
        """Output of a command, with more variables in its environment.

        Raises:
            RuntimeError: If it fails.
        """
        environment = {**self.environment, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def states(self, job: str) -> dict[str, tuple[str, str]]:
        """Element of a job's array → its state and exit code ("3:0"); a plain job is element ""."""
        found = {}
        for record in self.run("scontrol", "--oneliner", "show", "job", job).splitlines():
            values = dict(re.findall(r"(\w+)=(\S*)", record))
            found[values.get("ArrayTaskId", "")] = (values["JobState"], values["ExitCode"])
        return found

    def wait(self, condition: Callable[[], Any], timeout_sec: float, what: str) -> Any:
        """Wait until something is neither None nor false, and give it.

        Raises:
            TimeoutError: With what was waited for, and the last lines of the logs.
        """
        deadline = time.monotonic() + timeout_sec
        while (found := condition()) is None or found is False or found == "":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come in {timeout_sec} s\n{self.run('squeue')}\n{self._log_tails()}")
            time.sleep(0.1)
        return found

    def wait_until_idle(self, timeout_sec: float) -> None:
        """Wait until no job is waiting or running."""
        self.wait(lambda: not self.run("squeue", "--noheader").strip(), timeout_sec, "the end of all jobs")

    def _start(self) -> None:
        folder = self.folder
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir()
        (folder / "plugstack.conf").touch()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        ctld_port, *ports = _free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs={self._cpus} "
            "RealMemory=4000 State=UNKNOWN"
            for node, port in zip(NODES, ports, strict=True)
        )
        text = CONFIGURATION.format(folder=folder, host=socket.gethostname(), ctld_port=ctld_port, nodes=nodes)
        (folder / "slurm.conf").write_text(text)
        munge_files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={folder}/munge.{name}" for option, name in munge_files.items()]
        self._daemon("munged", "--foreground", "--force", *munge)
        self.wait(lambda: (folder / "munge.socket").exists(), 20, "munged")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        self.wait(self._is_ready, 60, "the nodes")

    def _is_ready(self) -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%T"], env=self.environment, capture_output=True, text=True
        )
        return done.stdout.split() == ["idle"] * len(NODES)

    def _daemon(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            # In a session of its own, so that a Ctrl-C at the terminal does not end the cluster before its jobs.
            process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._daemons.append(process)

    def _stop(self) -> None:
        """Kill the jobs, end the daemons, and whatever else still has this cluster's folder in its environment."""
        if len(self._daemons) > 1:
            subprocess.run(["scancel", "--signal=KILL", "--full", "--user=root"], env=self.environment, check=False)
            subprocess.run(["scancel", "--user=root"], env=self.environment, check=False)
        for process in reversed(self._daemons):
            process.terminate()
        for process in self._daemons:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[int]:
        """Processes of this cluster: the steps' supervisors, and what they run."""
        mark = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        return [pid for pid in _all_pids() if pid != os.getpid() and mark in _environment(pid)]

    def _log_tails(self) -> str:
        logs = sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("*.out"))
        return "\n".join(f"== {p.name}\n" + "\n".join(p.read_text().splitlines()[-15:]) for p in logs)


def _environment(pid: int) -> Sequence[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or a kernel thread
        return ()


def _all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
