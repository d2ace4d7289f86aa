"""Pictures of many requests, judged together: a bounded queue before one model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

from hv_utils.ground.files import cores
from hv_utils.inference.preparation import Picture, Preparation, Shown
from hv_utils.serve.limits import Refusal

WAIT_S = 0.005  # for pictures that are being decoded, so that they share a call of the model
Judge = Callable[[Sequence[tuple[Picture, Shown]]], list[dict]]


class Batcher:
    """Prepares pictures in a pool of threads and judges those that are ready together.

    Parameters
    ----------
    prepare : callable
        See `preparation.preparation_of`.
    judge : callable
        Takes what pictures show, each with its picture, and returns a row each; called from
        several threads.
    batch_size : int
        Images of one call of `judge`, but that the cells of one picture stay together.
    capacity : int
        Pictures that may wait or be at work.
    workers : int, optional
        Threads that prepare, and as many that judge; by default one a core.
    """

    def __init__(
        self,
        prepare: Preparation,
        judge: Judge,
        *,
        batch_size: int = 4,
        capacity: int = 256,
        workers: int | None = None,
    ) -> None:
        workers = workers or cores()
        self.capacity = capacity
        self.waiting = 0  # pictures taken and not answered
        self._prepare, self._judge, self._batch_size = prepare, judge, batch_size
        self._changed = threading.Condition()
        self._ready: deque[tuple[Picture, list[Shown], Future]] = deque()
        self._preparing = 0
        self._closed = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
        self._judges = [
            threading.Thread(target=self._work, name=f"judge_{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._judges:
            thread.start()

    def submit(self, pictures: Sequence[Picture]) -> list[Future[list[dict]]]:
        """Take pictures in, all or none.

        Parameters
        ----------
        pictures : sequence of Path or SentImage

        Returns
        -------
        list of Future
            The rows of each picture. One that is cancelled before its turn costs nothing.

        Raises
        ------
        Refusal
            503, where the queue has no room for all of them, or is closed.
        """
        with self._changed:
            if self._closed or self.waiting + len(pictures) > self.capacity:
                raise Refusal(
                    503,
                    f"expected room for {len(pictures)} pictures, but {self.waiting} of at most "
                    f"{self.capacity} are waiting: send them again in a moment",
                )
            self.waiting += len(pictures)
            self._preparing += len(pictures)
        futures = []
        for picture in pictures:
            future: Future[list[dict]] = Future()
            future.add_done_callback(self._leave)
            self._pool.submit(self._prepare_one, picture, future)
            futures.append(future)
        return futures

    def close(self) -> None:
        """Take nothing more, finish what was taken, and end the threads."""
        with self._changed:
            self._closed = True
        self._pool.shutdown(wait=True)
        with self._changed:
            self._changed.notify_all()
        for thread in self._judges:
            thread.join()

    def _leave(self, _: Future) -> None:
        with self._changed:
            self.waiting -= 1

    def _prepare_one(self, picture: Picture, future: Future) -> None:
        shown = None
        try:
            if future.set_running_or_notify_cancel():
                shown = self._prepare(picture)
        except Exception as error:
            future.set_exception(error)
        finally:
            with self._changed:
                self._preparing -= 1
                if shown is not None:
                    self._ready.append((picture, shown, future))
                self._changed.notify_all()

    def _work(self) -> None:
        while batch := self._next_batch():
            pairs = [(picture, one) for picture, shown, _ in batch for one in shown]
            try:
                rows = iter(self._judge(pairs))
                for _, shown, future in batch:
                    future.set_result([next(rows) for _ in shown])
            except Exception as error:
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            del batch, pairs  # not to be kept until the next one comes

    def _next_batch(self) -> list[tuple[Picture, list[Shown], Future]]:
        """Wait for pictures that are ready; empty where there will be no more."""
        with self._changed:
            while True:
                self._changed.wait_for(
                    lambda: self._ready or (self._closed and not self._preparing)
                )
                if not self._ready:
                    return []
                until = monotonic() + WAIT_S
                while self._preparing and self._images() < self._batch_size:
                    if not self._changed.wait(until - monotonic()):
                        break
                if self._ready:  # another thread may have taken them
                    break
            batch = [self._ready.popleft()]
            images = len(batch[0][1])
            while self._ready and images + len(self._ready[0][1]) <= self._batch_size:
                batch.append(self._ready.popleft())
                images += len(batch[-1][1])
            return batch

    def _images(self) -> int:
        return sum(len(shown) for _, shown, _ in self._ready)
