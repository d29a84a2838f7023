"""Right answers: the artifact on ONNX Runtime in FP32 with graph optimisation off, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from speedsheet import plugins
from speedsheet.convert.graph.check import one_line
from speedsheet.convert.graph.shapes import shape_text
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineUnavailable, Session, Setup
from speedsheet.core.errors import BadInput, MissingExtra, quoted
from speedsheet.core.workload import Arrays

#: The judge of every row, whichever engine is measured.
JUDGE = "onnxruntime"


def judge_version() -> str:
    """Return the judge's version; raises MissingExtra where it is not installed."""
    info = plugins.probe(JUDGE)
    if isinstance(info, EngineUnavailable):
        raise MissingExtra(f"outputs cannot be judged without {JUDGE}: {info.reason}", do=info.do)
    return info.version


def reference_outputs(
    artifact: Artifact, feeds: Sequence[Arrays], cores: int, tell: Callable[[float], None] = lambda _done: None
) -> list[Arrays]:
    """Compute the FP32 outputs of each feed."""
    outputs = []
    for answer in right_answers(artifact, feeds, cores):
        outputs.append(answer)
        tell(len(outputs) / len(feeds))
    return outputs


def right_answers(artifact: Artifact, feeds: Iterable[Arrays], cores: int) -> Iterator[Arrays]:
    """Compute the FP32 outputs of one feed after another; what is not kept is not in memory."""
    info = plugins.probe(JUDGE)
    assert not isinstance(info, EngineUnavailable), "judge_version was asked first"
    setup = Setup(info.default_device, "fp32", 1, 1, cores, {"graph_optimization_level": "disable"})
    session = plugins.engine(JUDGE).load(artifact, setup, lambda: None)
    try:
        for feed in feeds:
            yield _computed(session, feed)
    finally:
        session.close()


def _computed(session: Session, feed: Arrays) -> Arrays:
    """Run one feed; inputs that the model cannot compute are the command's fault, and are named."""
    try:
        request = session.bind(feed, {})
        request.run()
        return request.outputs()
    except Exception as error:
        given = ", ".join(f"{quoted(name)} {shape_text(array.shape)}" for name, array in feed.items())
        raise BadInput(
            f"the model does not compute with {given}: {one_line(error)}",
            do="give shapes and ranges that it takes, one --input NAME=SHAPE:DTYPE[:LOW:HIGH] per input",
        ) from error
