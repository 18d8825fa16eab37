"""The inference thread: it owns one warm reenactor and serves one pipeline after the other with it.

It looks at a frame of the source; a second thread, its painter, makes the target's picture, while it looks at the next.
A reenactor is kept between sessions, so that after a page reload the first frame does not wait for a compiler.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.memory import trim_memory
from reenact.actor import ConsentError
from reenact.disclosure_log import note_missing_label
from reenact.engines.engine import EngineError
from reenact.face_change import FaceChange
from streamer import control
from streamer.clock import Clock, elapsed_ms
from streamer.errors import ServiceError
from streamer.packets import FaceState, Journey, SourceFrame, TargetFrame
from streamer.painter import Handover, Painter
from streamer.pipeline import EngineInfo, Orders, Pipeline
from streamer.pixels import RgbConverter, to_picture
from streamer.slots import BoundedFifo
from streamer.targets import Looked, Reenactor, ReenactorFactory

logger = logging.getLogger(__name__)

MAX_FAILURES = 15
"""Frames in a row that may fail before the session ends: half a second at 30 fps."""
MAX_ENGINE_FAILURES = 3
"""Frames in a row at which the engine may fail before the next engine takes over."""

Busy = Literal["", "frame", "open"]
"""What a thread is at: nothing, one frame, or loading and compiling an actor."""


class SessionOver(Exception):  # noqa: N818 - not an error: whoever had to be told has been
    """The session that is served cannot go on."""


@dataclass
class Failures:
    """Frames that failed, in a row."""

    count: int = 0
    of_engine: int = 0
    _has_logged: bool = False

    def add(self, error: Exception) -> bool:
        """Count one; True for the first of a session."""
        self.count += 1
        self.of_engine = self.of_engine + 1 if isinstance(error, EngineError) else 0
        is_first, self._has_logged = not self._has_logged, True
        return is_first

    def clear(self) -> None:
        """Begin to count anew: a frame was made, or another engine takes over."""
        self.count = self.of_engine = 0


class InferenceWorker:
    """One thread, one reenactor, one pipeline at a time."""

    def __init__(self, factory: ReenactorFactory, *, clock: Clock, longest_side: int, name: str) -> None:
        """Make reenactors with `factory`, in the thread `name`; scale sources down to `longest_side` pixels."""
        self._factory = factory
        self._clock = clock
        self._converter = RgbConverter(longest_side)
        self._jobs: BoundedFifo[Pipeline | str] = BoundedFifo(2)
        self._reenactor: Reenactor | None = None
        self._actor = ""
        self._pipeline: Pipeline | None = None
        self._painter = Painter(f"{name}-painter")
        self._handover = Handover()
        self._mark = ""
        self._mesh_s = 0.0
        self._is_abandoned = False
        self._is_stopped = False
        self._busy: Busy = ""
        self._num_steps = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def actor(self) -> str:
        """Name of the actor that is loaded, or empty."""
        return self._actor

    @property
    def busy(self) -> Busy:
        """What it, or its painter, is at."""
        return self._busy or ("frame" if self._painter.is_at_work else "")

    @property
    def num_steps(self) -> int:
        """Grows with everything that begins or ends: what stands still is stuck."""
        return self._num_steps + self._painter.num_ended

    @property
    def is_free(self) -> bool:
        """True if no live pipeline holds the worker."""
        return self._pipeline is None or self._pipeline.is_closed

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline that it serves, or that waits for it."""
        return None if self.is_free else self._pipeline

    @property
    def is_alive(self) -> bool:
        """False once the thread has ended, by whatever."""
        return self._thread.is_alive()

    @property
    def is_lost(self) -> bool:
        """True if the thread has ended and nobody told it to."""
        return not self._is_stopped and self._thread.ident is not None and not self.is_alive

    def abandon(self) -> None:
        """Give the thread up: should it ever come back, it shows nothing more and ends."""
        self._is_abandoned = True
        self.stop()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def prepare(self, actor: str) -> None:
        """Load and warm up `actor` before a session asks for it."""
        self._jobs.offer(actor)

    def serve(self, pipeline: Pipeline) -> None:
        """Serve `pipeline` until it is closed; the worker must be free."""
        assert self.is_free
        self._pipeline = pipeline
        if not self._jobs.offer(pipeline):
            # Only pipelines that closed before their turn can fill the queue; they need no turn.
            self._jobs.clear()
            self._jobs.offer(pipeline)

    def stop(self) -> None:
        """Tell the thread to end once its pipeline is closed; `join` waits for it."""
        self._is_stopped = True
        self._jobs.close()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; False if it still runs."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (job := self._jobs.take()) is not None:
                self._do(job)
        finally:  # also where something ends the thread itself
            self._discard()
            self._painter.close()

    def _do(self, job: Pipeline | str) -> None:
        try:
            if isinstance(job, str):
                self._open(job)
            elif not job.is_closed:
                self._serve(job)
        except ServiceError as error:
            self._refuse(job, error.code, error.message)
        except Exception as error:  # The edge of a session: the thread lives on for the next one.
            logger.exception("the engine failed")
            self._discard()
            self._refuse(job, "engine_failed", f"The engine failed: {error}")

    @contextlib.contextmanager
    def _at(self, busy: Busy) -> Iterator[None]:
        """Let the watchdog see what the thread is at."""
        before, self._busy = self._busy, busy
        self._num_steps += 1
        try:
            yield
        finally:
            self._busy = before
            self._num_steps += 1

    def _refuse(self, job: Pipeline | str, code: str, message: str) -> None:
        if self._is_abandoned:
            return
        if isinstance(job, Pipeline):
            job.fail(code, message)
        else:
            logger.error("actor %s could not be prepared: %s", job, message)

    def _open(self, actor: str) -> Reenactor:
        """Return the warm reenactor of `actor`, made now if another one is loaded."""
        if self._reenactor is not None and self._actor == actor and not self._reenactor.may_improve:
            return self._reenactor
        start_ns = self._clock.monotonic_ns()
        with self._at("open"):
            if self._reenactor is None:
                _settle_memory()  # what one that failed has left would stay below the new one
            reenactor = self._factory(actor)
            try:
                reenactor.warm_up()
            except BaseException:
                reenactor.close()
                raise
        self._discard()
        self._reenactor, self._actor = reenactor, actor
        _settle_memory()
        seconds = elapsed_ms(start_ns, self._clock.monotonic_ns()) / 1e3
        logger.info(
            "actor %s is ready: %s (%s), %.1f s", actor, reenactor.engine_name, reenactor.engine_reason, seconds
        )
        return reenactor

    def _open_for(self, pipeline: Pipeline, actor: str) -> Reenactor:
        """As `_open`, and the page of `pipeline` hears that it takes its time."""
        with pipeline.preparing():
            return self._open(actor)

    def _discard(self) -> None:
        self._painter.wait()
        reenactor, self._reenactor, self._actor = self._reenactor, None, ""
        if reenactor is not None:
            reenactor.close()

    def _serve(self, pipeline: Pipeline) -> None:
        reenactor = self._open_for(pipeline, pipeline.actor)
        if self._is_abandoned:
            return
        reenactor.reset()
        reenactor.puppet(FaceChange())
        reenactor.edit(FaceChange())
        self._begin(pipeline, reenactor)
        with contextlib.suppress(SessionOver):
            self._serve_frames(pipeline, reenactor).reset()

    def _serve_frames(self, pipeline: Pipeline, reenactor: Reenactor) -> Reenactor:
        """Turn frames into pictures until the pipeline is closed; give the reenactor that is loaded then."""
        failures, num_done = Failures(), self._painter.num_done
        while not pipeline.is_closed and not self._is_abandoned:
            frame = pipeline.source.take()
            error = self._painter.take_error()
            if self._painter.num_done > num_done:
                num_done = self._painter.num_done
                failures.clear()
            if error is not None:
                reenactor = self._answer(error, failures, pipeline, reenactor)
            reenactor = self._obey(pipeline.orders, pipeline, reenactor)
            if frame is None:
                continue
            try:
                with self._at("frame"):
                    self._reenact(frame, pipeline, reenactor)
                    reenactor.learn()
            except Exception as failure:
                reenactor = self._answer(failure, failures, pipeline, reenactor)
            else:
                self._handover.rest(self._painter)
        self._painter.wait()
        self._painter.take_error()
        return reenactor

    def _answer(self, error: BaseException, failures: Failures, pipeline: Pipeline, reenactor: Reenactor) -> Reenactor:
        """Go on after a frame has failed, with another engine if need be; raise what ends session or thread."""
        if isinstance(error, ConsentError):  # It ended, or was withdrawn, meanwhile: no picture more.
            self._discard()
            pipeline.fail("consent_ended", str(error))
            raise SessionOver
        if not isinstance(error, Exception):
            raise error
        # The edge of a frame: count, log once, go on.
        pipeline.meter.drop("failed")
        if failures.add(error):
            logger.error("a frame failed; further failures of this session are only counted", exc_info=error)
        if failures.of_engine >= MAX_ENGINE_FAILURES:
            failures.clear()
            return self._fall_back(pipeline, reenactor, error)
        if failures.count >= MAX_FAILURES:
            self._discard()
            pipeline.fail("engine_failed", f"The engine failed on {failures.count} frames in a row.")
            raise SessionOver
        return reenactor

    def _fall_back(self, pipeline: Pipeline, reenactor: Reenactor, error: Exception) -> Reenactor:
        """Go on with the next engine, loudly, or with all of them anew. Raises `EngineError` where that is in vain."""
        logger.warning("the engine fails, the next one takes over: %s", error)
        _let_go(error)
        try:
            with self._at("open"), pipeline.preparing():
                self._painter.wait()
                self._painter.take_error()  # of the same engine
                reenactor.fall_back()
        except EngineError as none_left:
            _let_go(none_left)
            return self._start_anew(pipeline, none_left)
        trim_memory()
        self._announce(pipeline, reenactor)
        engine = reenactor.engine_name
        pipeline.refuse(
            "engine_changed", f"The engine failed while running; {engine} goes on: {reenactor.engine_reason}."
        )
        return reenactor

    def _start_anew(self, pipeline: Pipeline, error: EngineError) -> Reenactor:
        """Load everything again, with every engine in the choice; raise `error` for a session that did so too often."""
        if not pipeline.restarts.take():
            raise error
        logger.error("every engine has failed, all are started anew: %s", error)
        pipeline.refuse("engine_restarted", "Every engine has failed; they are being started anew.")
        actor = self._actor
        self._discard()
        reenactor = self._open_for(pipeline, actor)
        self._apply(pipeline, reenactor, pipeline.orders.settings)
        pipeline.orders.renew()
        self._begin(pipeline, reenactor)
        return reenactor

    def _begin(self, pipeline: Pipeline, reenactor: Reenactor) -> None:
        """Let the pictures carry the mark of this session and actor, and tell the page what runs."""
        self._mark = str(reenactor.begin(pipeline.session))
        self._announce(pipeline, reenactor)

    def _announce(self, pipeline: Pipeline, reenactor: Reenactor) -> None:
        pipeline.announce(
            EngineInfo(
                actor=self._actor,
                engine=reenactor.engine_name,
                engine_reason=reenactor.engine_reason,
                tracker=reenactor.tracker_name,
                tracker_reason=reenactor.tracker_reason,
                resolution=reenactor.resolution,
                mark=self._mark,
            )
        )

    def _obey(self, orders: Orders, pipeline: Pipeline, reenactor: Reenactor) -> Reenactor:
        """Do what the page asked for since the last frame."""
        wanted = orders.take()
        if not wanted.is_light:
            self._painter.wait()
        if wanted.actor is not None and wanted.actor != self._actor:
            try:
                reenactor = self._open_for(pipeline, wanted.actor)
                self._apply(pipeline, reenactor, orders.settings)
                orders.renew()  # what is edited stays so, from the next frame on
                self._begin(pipeline, reenactor)
            except ServiceError as error:
                pipeline.refuse(error.code, error.message)
            except Exception as error:
                logger.exception("actor %s could not be loaded", wanted.actor)
                pipeline.refuse("engine_failed", f"The actor {wanted.actor!r} could not be loaded: {error}")
        self._apply(pipeline, reenactor, wanted.settings)
        if wanted.numbers is not None:
            reenactor.puppet(wanted.numbers)
        if wanted.edit is not None:
            reenactor.edit(wanted.edit)
        if wanted.is_reset:
            reenactor.reset()
            pipeline.face = FaceState()  # a calibration that was under way is not done
        if wanted.personal is not None:
            try:
                reenactor.restore(wanted.personal)
            except ValueError as error:
                pipeline.refuse("bad_calibration", str(error))
        if wanted.is_calibration:
            reenactor.calibrate()
        return reenactor

    def _apply(self, pipeline: Pipeline, reenactor: Reenactor, settings: object) -> None:
        if settings is None:
            return
        before = reenactor.tracker_name, reenactor.engine_reason
        try:
            reenactor.apply(settings)
        except Exception as error:  # The edge of a wish: what ran before goes on.
            logger.exception("settings could not be applied")
            pipeline.refuse("setting_refused", f"The setting could not be applied: {error}")
        if (reenactor.tracker_name, reenactor.engine_reason) != before:
            self._announce(pipeline, reenactor)

    def _reenact(self, frame: SourceFrame, pipeline: Pipeline, reenactor: Reenactor) -> None:
        """Look at one source frame, report on it and give it to the painter."""
        start_ns = self._clock.monotonic_ns()
        image = self._converter.to_rgb(frame.picture)
        converted_ns = self._clock.monotonic_ns()
        looked = reenactor.look(image, frame.time_s)
        if pipeline.face.is_calibrating and not looked.is_calibrating:
            personal = reenactor.personal()
            if personal is not None:
                pipeline.hand_over(personal)
        pipeline.face = FaceState(
            face=looked.state,
            num_faces=looked.num_faces,
            confidence=looked.confidence,
            is_calibrating=looked.is_calibrating,
            coverage=reenactor.coverage,
        )
        looked_ns = self._clock.monotonic_ns()
        self._painter.wait()
        if self._is_abandoned:
            return
        self._painter.submit(
            lambda: self._paint(frame, looked, pipeline, reenactor, (start_ns, converted_ns, looked_ns)),
            pipeline.source.wake,
        )
        self._show_mesh(frame, pipeline, reenactor)
        self._handover.looked(elapsed_ms(start_ns, looked_ns))

    def _paint(
        self,
        frame: SourceFrame,
        looked: Looked,
        pipeline: Pipeline,
        reenactor: Reenactor,
        times_ns: tuple[int, int, int],
    ) -> None:
        """Turn what was looked at into one target frame and publish it; in the painter's thread."""
        meter, began_ns = pipeline.meter, self._clock.monotonic_ns()
        start_ns, converted_ns, looked_ns = times_ns
        result = reenactor.show(looked)
        if self._is_abandoned:
            return
        if not pipeline.origins or pipeline.origins[-1] is not reenactor.origin:
            pipeline.origins.append(reenactor.origin)
            if reenactor.origin.label is None:
                note_missing_label(reenactor.origin)
        picture = to_picture(result.image, frame.pts, frame.time_base)
        convert_ms, waited_ms = elapsed_ms(start_ns, converted_ns), elapsed_ms(looked_ns, began_ns)
        made_ns = self._clock.monotonic_ns()
        pipeline.publish(
            TargetFrame(
                seq=frame.seq,
                pts=frame.pts,
                time_base=frame.time_base,
                captured_ns=frame.captured_ns,
                journey=Journey(
                    rtp_timestamp=frame.rtp_timestamp,
                    sent_ns=frame.sent_ns,
                    complete_ns=frame.complete_ns,
                    decode_ms=frame.decode_ms,
                    convert_ms=convert_ms,
                    taken_ns=start_ns,
                    waited_ms=waited_ms,
                    stages_ms=result.stages_ms,
                    made_ns=made_ns,
                ),
                picture=picture,
            )
        )
        self._handover.painted(elapsed_ms(began_ns, made_ns))
        meter.count("generated")
        meter.time("decode", frame.decode_ms + convert_ms)
        meter.time("queue", elapsed_ms(frame.decoded_ns, start_ns) + waited_ms)
        for stage, ms in result.stages_ms.items():
            meter.time(stage, ms)

    def _show_mesh(self, frame: SourceFrame, pipeline: Pipeline, reenactor: Reenactor) -> None:
        """Send the tracked mesh, now and then, to a page that wants it."""
        since_s = frame.time_s - self._mesh_s
        if pipeline.orders.is_mesh_wanted and not 0.0 <= since_s < 0.95 * control.MESH_INTERVAL_S:
            self._mesh_s = frame.time_s
            pipeline.show_mesh(control.mesh(reenactor.mesh()))


def _let_go(error: BaseException | None) -> None:
    """Take the stacks from an error and its causes: they hold what has failed, and the memory of it."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _settle_memory() -> None:
    """Take everything loaded so far out of the garbage collector's sight.

    A full collection looks at every object of the process, several hundred thousand with the engines loaded, while
    all threads wait: a frame that meets one is late. What was let go goes back to the system.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim_memory()


class Workers:
    """The inference threads of the server: as many as sessions, made when they are needed."""

    def __init__(self, factory: ReenactorFactory, *, clock: Clock, longest_side: int) -> None:
        """See `InferenceWorker`."""
        self._factory = factory
        self._clock = clock
        self._longest_side = longest_side
        self._workers: list[InferenceWorker] = []
        self._abandoned: list[InferenceWorker] = []
        self._count = 0

    def prepare(self, actor: str) -> None:
        """Make one worker with a warm `actor`, for the first session to find."""
        self._add().prepare(actor)

    def serve(self, pipeline: Pipeline) -> None:
        """Give `pipeline` a thread: best one that has its actor loaded."""
        free = [worker for worker in self._workers if worker.is_free]
        fitting = [worker for worker in free if worker.actor == pipeline.actor]
        worker = next(iter([*fitting, *free]), None) or self._add()
        worker.serve(pipeline)

    def _add(self) -> InferenceWorker:
        name = f"inference-{self._count}"
        self._count += 1
        worker = InferenceWorker(self._factory, clock=self._clock, longest_side=self._longest_side, name=name)
        self._workers.append(worker)
        worker.start()
        return worker

    @property
    def all(self) -> list[InferenceWorker]:
        """Every worker that was not given up."""
        return list(self._workers)

    @property
    def num_stuck(self) -> int:
        """Threads that were given up and have not ended: what they hold is lost to the process."""
        self._abandoned = [worker for worker in self._abandoned if worker.is_alive]
        return len(self._abandoned)

    def replace(self, worker: InferenceWorker, reason: str) -> None:
        """Give `worker` up and its session to a new thread; end the session that has lost too many of them."""
        pipeline = worker.pipeline
        worker.abandon()
        self._workers.remove(worker)
        self._abandoned.append(worker)
        logger.error("an inference thread %s and is replaced", reason)
        if pipeline is None:
            return
        if not pipeline.restarts.take():
            pipeline.fail("engine_failed", f"The engine {reason}, again and again.")
            return
        pipeline.orders.renew()
        pipeline.refuse("engine_restarted", f"The engine {reason}; it is being started anew.")
        self._add().serve(pipeline)

    def stop(self) -> None:
        """Tell every thread to end."""
        for worker in self._workers:
            worker.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait for every thread, `timeout_s` in all; False if one still runs. Blocks."""
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        every = [*self._workers, *self._abandoned]
        results = [worker.join(max(0.0, (deadline_ns - self._clock.monotonic_ns()) / 1e9)) for worker in every]
        return all(results)
