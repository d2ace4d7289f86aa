"""Measure `hv serve`: beside a plain Keras service, over 10,000 requests, under attack and a kill.

    python scripts/measure_service.py load [--json results/service.json]
    python scripts/measure_service.py memory hostile kill [--json results/service.json]

All on loopback, clients and service sharing the cores. `load` drives, with 1, 8 and 64 clients that
send one picture after the other: `hv serve` with a model of whole pictures; the service of the
usual kind (`keras_service.py`) with the same weights, its handler `async def` or in threads; and
`hv serve` as it comes, which finds the cells. Each part replaces its own entry of the JSON file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hostile_uploads as hostile
import numpy as np
import psutil
from PIL import Image

from hv_utils.ground.files import cores, dump_json, renewed_json, write_text
from hv_utils.ground.runs import environment
from hv_utils.inference.onnx_model import SHIPPED_MODEL

CLIENTS = (1, 8, 64)
SIZE = (240, 320)  # of the model of whole pictures that is in the box
PICTURES = 16
REQUESTS, LONGEST_S = 10_000, 330
TURNS = 3
OURS, FINDING = "hv serve", "hv serve, finding cells"
USUAL = ("Keras async", "Keras threads")
PACKAGES = ("fastapi", "uvicorn", "starlette", "python-multipart", "onnxruntime", "pillow")


class Service:
    """A service in a process of its own.

    Parameters
    ----------
    process : subprocess.Popen
        Prints its address, then nothing more; its log goes to the error stream.
    """

    def __init__(self, process: subprocess.Popen) -> None:
        self.process, self.log = process, []
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if not found:
            raise SystemExit(f"no service: {line}{process.stderr.read()}")
        self.address = ("127.0.0.1", int(found[1]))
        self.about = psutil.Process(process.pid)
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read_log(self) -> None:
        for line in self.process.stderr:
            self.log.append(line)
            del self.log[:-1000]

    def facts(self) -> dict[str, float]:
        """Return memory, open files and threads."""
        memory = self.about.memory_info().rss / 1e6
        return {"mb": memory, "files": self.about.num_fds(), "threads": self.about.num_threads()}

    def seconds_worked(self) -> float:
        """Return the seconds of all cores so far: they tell the cost also beside other work."""
        times = self.about.cpu_times()
        return times.user + times.system


def quiet_environment() -> dict[str, str]:
    """Return the environment with the memory allocator as systems have it, for all alike."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    return {**kept, "TF_CPP_MIN_LOG_LEVEL": "3"}


@contextmanager
def started(*words: str, before: Callable[[], None] | None = None) -> Iterator[Service]:
    """Start a service and end it."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, *words]
    process = subprocess.Popen(command, env=quiet_environment(), preexec_fn=before, **pipes)
    try:
        yield Service(process)
    finally:
        process.terminate()
        process.wait(60)


def ours(*flags: str, **options: Any) -> Any:
    """Start `hv serve`."""
    return started("-m", "hv_utils.cli", "serve", "--port", "0", *flags, **options)


def cores_busy(services: Iterable[Service]) -> tuple[float, float]:
    """Return the time, and the seconds that all else on this machine has worked so far."""
    times = psutil.cpu_times()
    all_of_it = sum(times) - times.idle - getattr(times, "iowait", 0) - getattr(times, "guest", 0)
    own = time.process_time() + sum(one.seconds_worked() for one in services)
    return time.perf_counter(), all_of_it - own


def drawn_requests(folder: Path) -> list[bytes]:
    """Return requests with one drawn picture each, JPEG of 320x240 as the data set has them."""
    from hv_utils.drawn.smear import draw_photo
    from hv_utils.images.labels import CLASSES

    found = []
    for number in range(PICTURES):
        label = CLASSES[number % len(CLASSES)]
        photo = draw_photo(label, rng=np.random.default_rng(number))
        path = folder / f"{number}.jpeg"
        Image.fromarray(photo.image).resize(SIZE[::-1]).save(path, quality=95)
        (request,) = hostile.whole(hostile.part(path.name, path.read_bytes()))
        found.append(request)
    return found


async def client(
    address: tuple[str, int], requests: Sequence[bytes], go_on: Callable[[], bool], seen: list
) -> None:
    """Send one request after the other on one connection; note status and seconds of each."""
    reader, writer = await asyncio.open_connection(*address)
    number = id(writer) // 64 % len(requests)
    while go_on():
        begun = time.perf_counter()
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
        await reader.readexactly(length)
        seen.append((int(head.split(b" ")[1]), time.perf_counter() - begun))
        number += 1
    writer.close()


def drive(
    service: Service, requests: Sequence[bytes], clients: int, seconds: float
) -> dict[str, float]:
    """Let clients send for a while; return what was answered, how fast, and at what cost."""
    seen: list[tuple[int, float]] = []

    async def all_of_them() -> float:
        begun = time.perf_counter()

        def go_on() -> bool:
            return time.perf_counter() < begun + seconds

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client(service.address, requests, go_on, seen))
        return time.perf_counter() - begun

    worked = service.seconds_worked()
    taken = asyncio.run(all_of_them())
    worked = service.seconds_worked() - worked
    times = np.array([one for _, one in seen])
    return {
        "requests": len(seen),
        "lost": sum(status != 200 for status, _ in seen),
        "requests_per_s": len(seen) / taken,
        "median_ms": 1e3 * float(np.median(times)),
        "p99_ms": 1e3 * float(np.quantile(times, 0.99)),
        "cpu_ms_per_request": 1e3 * worked / len(seen),
    }


def answers(address: tuple[str, int], request: bytes) -> np.ndarray:
    """Return the probabilities that one request is answered with."""
    _, told = hostile.talk(address, [request], wait=60)
    if "probabilities" in told:
        return np.array(told["probabilities"])
    return np.array([value for name, value in told["rows"][0].items() if name[:5] == "prob_"])


def load(folder: Path, *, seconds: float) -> dict[str, Any]:
    """Measure requests a second and latencies, in turn so that a slow minute strikes all."""
    requests, model = drawn_requests(folder), folder / "model.keras"
    subprocess.run([sys.executable, __file__, "--make", model], check=True)
    keras_service = str(Path(__file__).with_name("keras_service.py"))
    with ExitStack() as stack:
        services = {
            OURS: stack.enter_context(ours("--model", str(folder / "model.onnx"))),
            **{
                kind: stack.enter_context(started(keras_service, str(model), kind.split()[-1]))
                for kind in USUAL
            },
            FINDING: stack.enter_context(ours()),
        }
        told = {
            name: [answers(one.address, request) for request in requests[:4]]
            for name, one in services.items()
        }
        for one in services.values():
            drive(one, requests, 8, 2)  # warm
        before = cores_busy(services.values())
        turns = [
            {
                name: {str(n): drive(one, requests, n, seconds) for n in CLIENTS}
                for name, one in services.items()
            }
            for _ in range(TURNS)
        ]
        after = cores_busy(services.values())
        sizes = {name: one.facts()["mb"] for name, one in services.items()}
    found = {
        name: {str(n): _median([turn[name][str(n)] for turn in turns]) for n in CLIENTS}
        for name in services
    }
    rates = {
        name: {n: one["requests_per_s"] for n, one in by.items()} for name, by in found.items()
    }
    faster = {n: max(rates[kind][n] for kind in USUAL) for n in rates[OURS]}
    return {
        "seconds_each": seconds,
        "turns": TURNS,
        "others_busy": (after[1] - before[1]) / (after[0] - before[0]),
        "picture": "one drawn JPEG of 320x240 a request",
        "services": found,
        "mb": sizes,
        "times_the_usual": {
            kind: {n: rates[OURS][n] / rates[kind][n] for n in faster} for kind in USUAL
        },
        "times_the_faster": {n: rates[OURS][n] / faster[n] for n in faster},
        "probabilities_apart_at_most": max(
            float(np.abs(np.subtract(told[OURS], told[kind])).max()) for kind in USUAL
        ),
    }


def _median(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure; requests and those that were lost are added up."""
    median = {name: float(np.median([turn[name] for turn in turns])) for name in turns[0]}
    return median | {name: sum(turn[name] for turn in turns) for name in ("requests", "lost")}


def make_model(path: Path) -> None:
    """Save a Keras model of whole pictures, and its export beside it: the same weights."""
    from hv_utils.images.labels import CLASSES
    from hv_utils.network.export import export_model
    from hv_utils.network.model import build_model, save_model

    save_model(build_model(len(CLASSES), size=SIZE, weights="lite0"), path, classes=CLASSES)
    export_model(path, path.with_suffix(".onnx"))


def memory(folder: Path, *, seconds: float) -> dict[str, Any]:
    """Measure the memory over 10,000 requests of 16 clients, with the model of whole pictures.

    On a slow machine it ends before, after `LONGEST_S`.
    """
    requests, seen, sizes = drawn_requests(folder), [], []
    with ours("--model", str(SHIPPED_MODEL)) as service:
        begun = time.perf_counter()

        def go_on() -> bool:
            return len(seen) + 15 < REQUESTS and time.perf_counter() < begun + LONGEST_S

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(16):
                    group.create_task(client(service.address, requests, go_on, seen))
                while go_on():
                    sizes.append((len(seen), service.facts()["mb"]))
                    await asyncio.sleep(1)

        asyncio.run(all_of_them())
        taken = time.perf_counter() - begun
        after = service.facts()
    sizes.append((len(seen), after["mb"]))
    tenth = {
        f"{share:.0%}": next(mb for n, mb in sizes if n >= share * len(seen))
        for share in np.linspace(0.1, 1, 10)
    }
    return {
        "requests": len(seen),
        "lost": sum(status != 200 for status, _ in seen),
        "requests_per_s": len(seen) / taken,
        "mb_by_share_of_requests": tenth,
        "growth_from_10_to_100_percent": after["mb"] / tenth["10%"] - 1,
        "after": after,
    }


def under_attack(folder: Path, *, seconds: float) -> dict[str, Any]:
    """Send all hostile requests, twice, to a service that cannot write a byte to any file."""
    import resource

    flags = [str(word) for pair in hostile.LIMITS.items() for word in pair]
    (good,) = hostile.whole(hostile.part("cell.png", hostile.image()))
    told: dict[str, Any] = {}
    with ours(*flags, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))) as service:
        for _ in range(2):
            hostile.talk(service.address, [good])
            facts = [service.facts()]
            for case in hostile.all_cases():
                status, answer = case.send(service.address)
                row = answer["rows"][0]["status"] if status == 200 else ""
                told[case.name] = {
                    "answer": str(status) if status else "connection closed",
                    **({"row": row} if row else {}),
                    "as_it_should": status in case.statuses and row == case.row,
                    "well_afterwards": hostile.is_well(service.address),
                }
            crowd = hostile.crowd(service.address, 600)
            time.sleep(2)
            facts.append(service.facts())
    return {
        "limits": hostile.LIMITS,
        "cases": told,
        "not_as_it_should": sum(not one["as_it_should"] for one in told.values()),
        "answers_500": sum(one["answer"] == "500" for one in told.values()),
        "600_idle_connections": crowd,
        "before_the_second_round": facts[0],
        "after_the_second_round": facts[1],
        "bytes_it_could_write_to_a_file": 0,
        "ended_with": service.process.returncode,
    }


def killed(folder: Path, *, seconds: float) -> dict[str, Any]:
    """Kill the service under load, start it again on the same port, and stop it under load."""
    requests = drawn_requests(folder)
    outcome: dict[str, Any] = {}
    for name, number in (("kill -9", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        with ours() as service:
            seen: list[tuple[int, float]] = []
            # Those that are cut off raise; what was asked and not answered is counted.
            asked = _asked_until_the_end(service, requests, number, seen)
            code = service.process.wait(60)
        begun = time.perf_counter()
        port = str(service.address[1])
        with started("-m", "hv_utils.cli", "serve", "--port", port) as again:
            status, _ = hostile.talk(again.address, [requests[0]])
            outcome[name] = {
                "answered": len(seen),
                "answered_other_than_200": sum(status != 200 for status, _ in seen),
                "cut_off": asked["sent"] - len(seen),
                "exit": code,
                "again_on_the_same_port_s": time.perf_counter() - begun,
                "first_answer": status,
            }
    return outcome


def _asked_until_the_end(
    service: Service, requests: Sequence[bytes], number: int, seen: list
) -> dict[str, int]:
    """Drive 16 clients, send a signal after two seconds, and count the requests sent whole."""
    asked = {"sent": 0}

    def counted() -> bool:
        if service.process.poll() is None and not over:
            asked["sent"] += 1
            return True
        return False

    over: list[bool] = []

    async def all_of_them() -> None:
        clients = [client(service.address, requests, counted, seen) for _ in range(16)]
        working = asyncio.gather(*clients, return_exceptions=True)
        await asyncio.sleep(2)
        if number == signal.SIGTERM:
            over.append(True)  # nothing new is sent; what is under way is to be answered, all of it
        service.process.send_signal(number)
        await working

    asyncio.run(all_of_them())
    return asked


PARTS = {"load": load, "memory": memory, "hostile": under_attack, "kill": killed}


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=10, help="of each load (default 10)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    facts = environment()
    about = {
        "machine": {**facts["machine"], "cores_used": cores()},
        "packages": facts["packages"] | {name: version(name) for name in PACKAGES},
    }
    for name in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[name](Path(folder), seconds=options.seconds)
        print(name, dump_json(found))
        if options.json:
            command = f"python scripts/measure_service.py {name} --seconds {options.seconds:g}"
            entry = {"command": command, "load_average": os.getloadavg()[0], **found}
            whole = {**renewed_json(options.json), **about, name: entry}
            write_text(options.json, dump_json(whole))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make_model(Path(sys.argv[2]))
    else:
        main()
