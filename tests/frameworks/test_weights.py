"""Trained weights in the place of drawn ones: what the framework computes with them is what the row measures."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speedsheet import plugins
from speedsheet.bench.sheet import measure_sheet
from speedsheet.convert.shipping.fetch import fetch
from speedsheet.convert.shipping.hdf5 import check_hdf5
from speedsheet.convert.shipping.recipe import GRAPH, WEIGHTS, shipped
from speedsheet.convert.shipping.ship import compare, run_plain
from speedsheet.convert.shipping.trained import check_weights, offered, trained
from speedsheet.convert.shipping.weights import Offer
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput, RowFailed
from speedsheet.core.request import RowRequest
from speedsheet.core.workload import Arrays
from speedsheet.host.places import cache_folder

pytestmark = pytest.mark.frameworks
SMALL = "mobilenet_v2"
ROOM = 1 << 24


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(error: pytest.ExceptionInfo, path: Path | str) -> bool:
    return str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value) and bool(error.value.do)


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """Give what a Keras user has: a network of keras.applications with weights of his own, saved in both formats."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2(weights=None)
    for layer in model.layers:  # statistics of data, as training leaves them
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = 0.0
    model(plugins.workload(SMALL).draw(1, 8)["image"], training=True)
    model.compile(optimizer="adam", loss="categorical_crossentropy")  # a saved model has its optimiser's state
    folder = tmp_path_factory.mktemp("user")
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "whole.h5")
    model.save(folder / "whole.keras")
    return model, folder


def answers(artifact: Artifact, feed: Arrays, like: Arrays) -> bool:
    return compare(like, run_plain(artifact, feed, like)).holds


@pytest.mark.parametrize("file", ["new.weights.h5", "whole.h5"])
def test_a_keras_users_weights_compute_what_his_keras_computes(file, user, tmp_path):
    """Of a plain network of keras.applications, in the current format or a whole model in the older one."""
    model, folder = user
    found = trained(SMALL, str(folder / file), tmp_path)
    feed = plugins.workload(SMALL).draw(3, 4)
    wanted = {"probabilities": np.asarray(model(feed["image"], training=False))}
    assert answers(found.artifact, feed, wanted)
    assert found.source == f"{file}, sha256 {sha256(folder / file)}"
    assert "FP32 equal to tensorflow within" in found.artifact.check
    others = {"probabilities": wanted["probabilities"][::-1]}
    assert not answers(found.artifact, feed, others)


def test_the_drawn_weights_give_the_shipped_artifact(tmp_path):
    """Saved and given back, the zoo's own values make the graph and the weights that ship, bit by bit."""
    plugins.workload(SMALL).build().save_weights(tmp_path / "drawn.weights.h5")
    artifact, recipe = trained(SMALL, str(tmp_path / "drawn.weights.h5"), tmp_path).artifact, shipped(SMALL)
    assert sha256(artifact.folder / GRAPH) == recipe.graph_sha256
    assert sha256(artifact.folder / WEIGHTS) == recipe.weights_sha256
    assert (artifact.parameters, artifact.macs_per_sample) == (recipe.parameters, recipe.macs_per_sample)


def test_what_is_in_the_cache_needs_no_framework(user, tmp_path):
    """The first row exports; the others, in other processes and precisions, load neither TensorFlow nor Keras."""
    file = user[1] / "new.weights.h5"
    artifact = trained(SMALL, str(file), tmp_path).artifact
    code = (
        "import sys; from pathlib import Path; sys.modules['keras'] = sys.modules['tensorflow'] = None;"
        "from speedsheet.convert.shipping.trained import trained;"
        f"print(trained({SMALL!r}, {str(file)!r}, Path({str(tmp_path)!r})).artifact.sha256)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == artifact.sha256


def test_without_the_framework_it_says_what_to_install(user, tmp_path):
    """One line that names the missing library and the extra."""
    code = (
        "import sys; from pathlib import Path; sys.modules['keras'] = None;"
        "from speedsheet.convert.shipping.trained import trained;"
        "from speedsheet.core.errors import MissingExtra\n"
        f"try: trained({SMALL!r}, {str(user[1] / 'new.weights.h5')!r}, Path({str(tmp_path)!r}))\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('mobilenet_v2: keras is not installed; pip install "speedsheet[frameworks]"')


@pytest.fixture(scope="module")
def dlrm(tmp_path_factory):
    """Give a torch user's parameters: the model's own names, other values."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(2)
    module = plugins.workload("dlrm").build()
    state = {name: value + 0.01 * torch.randn_like(value) for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    file = tmp_path_factory.mktemp("dlrm") / "mine.safetensors"
    save_file(state, file)
    return module, file


def test_a_row_with_trained_weights_says_so(dlrm, tmp_path):
    """A torch user's parameters become a judged row, whose JSON names the file and its hash; they compute as torch."""
    module, file = dlrm
    request = RowRequest("dlrm", engine="onnxruntime", precision="fp32", window_s=0.3, weights=str(file))
    trained_row, drawn = measure_sheet([request, replace(request, weights=None)], store=tmp_path / "store").rows
    assert trained_row.status == "ok", trained_row.error
    assert trained_row.gate.passed
    assert trained_row.weights_source == f"mine.safetensors, sha256 {sha256(file)}"
    assert drawn.weights_source == "drawn, seed 920"
    assert trained_row.artifact_sha256 != drawn.artifact_sha256
    (said,) = [finding.text for finding in trained_row.findings if finding.code == "trained_weights"]
    assert trained_row.weights_source in said
    assert "trained_weights" not in {finding.code for finding in drawn.findings}
    assert "FP32 equal to pytorch" in trained_row.reference
    workload = plugins.workload("dlrm")
    feed = workload.draw(5, 64)
    assert answers(trained("dlrm", str(file), cache_folder()).artifact, feed, workload.build.predict(module, feed))


def test_files_that_could_run_code_are_refused_unread(tmp_path, user):
    """Pickles and .keras archives by their names, before anything is built; a pickle in disguise by its bytes."""
    disguised = tmp_path / "weights.h5"
    for name, file, words in [
        ("dlrm", "model.pt", "is not a .safetensors file; safetensors.torch.save_file"),
        ("dlrm", "model.h5", "is not a .safetensors file"),
        (SMALL, "model.pkl", "is not a file of Keras weights.*save_weights"),
        (SMALL, "model.safetensors", "is not a file of Keras weights"),
    ]:
        (tmp_path / file).write_bytes(pickle.dumps({"a": 1}))
        with pytest.raises(BadInput, match=words) as caught:
            check_weights(name, str(tmp_path / file))
        assert one_line(caught, tmp_path / file)
    with pytest.raises(BadInput, match="is not a file of Keras weights"):
        check_weights(SMALL, str(user[1] / "whole.keras"))
    disguised.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BadInput, match="is no HDF5 file") as caught:
        trained(SMALL, str(disguised), tmp_path)
    assert one_line(caught, disguised)


def test_names_that_nobody_offers_are_refused(tmp_path):
    """What a framework does not offer, a file that is not there, and weights for a user's own file."""
    for name, weights, words in [
        ("bert_128", "imagenet", "offers no weights called 'imagenet'; give a file"),
        ("resnet50", "imagnet", "it has imagenet; give a file"),
        ("resnet50", "none.weights.h5", "none.weights.h5: no such file"),
    ]:
        with pytest.raises(BadInput, match=words):
            check_weights(name, weights)
    (tmp_path / "own.onnx").write_bytes(b"x")
    with pytest.raises(BadInput, match="has its own weights"):
        measure_sheet([RowRequest(str(tmp_path / "own.onnx"), weights="imagenet")], store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_another_models_weights_are_refused(dlrm, user, tmp_path):
    """Of another network, with a parameter missing or too many, of another shape or type: one line that names it."""
    from safetensors.numpy import load_file, save_file

    with pytest.raises(BadInput, match=r"does not fit densenet101") as caught:
        trained("densenet101", str(user[1] / "new.weights.h5"), tmp_path)
    assert one_line(caught, user[1] / "new.weights.h5")
    right, author = load_file(dlrm[1]), plugins.workload("dlrm").build
    name = "top.0.bias"
    for change, words in [
        ({name: right[name][:-1]}, r"parameter 'top.0.bias' is \(511,\) F32, and the model's is \(512,\) F32"),
        ({name: right[name].astype("f8")}, r"is \(512,\) F64"),
        ({"other": right[name]}, "has, and the model has not, the parameter 'other'"),
        ({name: np.full_like(right[name], np.nan)}, "holds values that are not finite"),
        ({name: None}, "lacks the parameter 'top.0.bias'"),
    ]:
        file = tmp_path / "wrong.safetensors"
        save_file({key: value for key, value in {**right, **change}.items() if value is not None}, file)
        with pytest.raises(BadInput, match=words) as caught:
            author.load(dlrm[0], file)
        assert one_line(caught, file)


def test_weights_that_are_not_finite_are_refused(user, tmp_path):
    """A diverged training shows before it is measured."""
    model, _ = user
    bias = model.layers[-1].bias
    before = np.asarray(bias)
    bias.assign(np.where(np.arange(1000) == 7, np.inf, before))
    model.save_weights(tmp_path / "diverged.weights.h5")
    bias.assign(before)
    with pytest.raises(BadInput, match=r"variable 'predictions/bias' .* holds values that are not finite"):
        trained(SMALL, str(tmp_path / "diverged.weights.h5"), tmp_path)


def test_damaged_files_are_one_line(user, dlrm, tmp_path):
    """Cut off, or with bytes exchanged: never a traceback, never half a model."""
    draw = np.random.default_rng(0)
    for name, source in ((SMALL, user[1] / "new.weights.h5"), ("dlrm", dlrm[1])):
        author = plugins.workload(name).build
        model, data, file = author(), source.read_bytes(), tmp_path / source.name
        for cut in (0, 7, 100, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:cut])
            with pytest.raises(BadInput) as caught:
                author.load(model, file)
            assert one_line(caught, file)
    data, file = (user[1] / "new.weights.h5").read_bytes(), tmp_path / "new.weights.h5"
    for _ in range(40):  # a damaged structure is refused, or is read as some structure within its bounds
        spoilt = bytearray(data)
        for place in draw.integers(0, min(len(data), 1 << 16), 20):
            spoilt[place] = draw.integers(256)
        file.write_bytes(bytes(spoilt))
        with suppress(BadInput):
            check_hdf5(file, ROOM, "save it again")


def _external_link(file, folder):
    import h5py

    file["layers/stolen"] = h5py.ExternalLink(str(folder / "secret.h5"), "/data")


def _soft_link(file, folder):
    import h5py

    file["layers/again"] = h5py.SoftLink("/layers")


def _external_storage(file, folder):
    file.create_dataset("stolen", (4,), "f4", external=[(str(folder / "secret.h5"), 0, 16)])


def _virtual(file, folder):
    import h5py

    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "data", (4,))
    file.create_virtual_dataset("stolen", layout)


def _huge(file, folder):
    file.create_dataset("bomb", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


def _many(file, folder):
    for index in range(80):
        file.create_dataset(f"bomb{index}", (1 << 18,), "f4", chunks=(1 << 18,), compression="gzip")


def _objects(file, folder):
    import h5py

    file.create_dataset("text", data=["a", "b"], dtype=h5py.string_dtype())


def _plugin(file, folder):
    import h5py

    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((4,))
    created.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)  # blosc's number: a library of the user's
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"packed", h5py.h5t.IEEE_F32LE, space, created)


@pytest.mark.parametrize(
    ("hostile", "words"),
    [
        (_external_link, "'/layers/stolen' is a link to another place or file"),
        (_soft_link, "'/layers/again' is a link"),
        (_external_storage, "array '/stolen' is stored in another file"),
        (_virtual, "array '/stolen' is stored in another file"),
        (_huge, "declares more than 17 MB of arrays, above what the model holds"),
        (_many, "declares more than 17 MB of arrays"),
        (_objects, "array '/text' is not of plain numbers"),
        (_plugin, "array '/packed' is stored through the filter 32001, which is a plug-in"),
    ],
)
def test_a_hostile_hdf5_is_refused(hostile, words, user, tmp_path):
    """Nothing outside the file is opened, and nothing is made of the size that it declares; it takes a moment."""
    import h5py

    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["data"] = np.ones(4, np.float32)
    file = tmp_path / "hostile.weights.h5"
    with h5py.File(file, "w") as made:
        made["layers/dense/vars/0"] = np.ones((4, 4), np.float32)
        hostile(made, tmp_path)
    with pytest.raises(BadInput, match=words) as caught:
        check_hdf5(file, ROOM, "save it again")
    assert one_line(caught, file)
    with pytest.raises(BadInput, match=words.replace("17 MB", r"\d+ MB")):
        plugins.workload(SMALL).build.load(user[0], file)


def test_a_file_that_lacks_a_layer_is_refused(user, tmp_path):
    """What the file has not keeps no other value in silence: the variable is named."""
    import h5py

    file = tmp_path / "less.weights.h5"
    shutil.copy(user[1] / "new.weights.h5", file)
    with h5py.File(file, "r+") as made:
        layers = made["layers"]
        del layers[sorted(name for name in layers if "vars" in layers[name] and len(layers[name]["vars"]))[3]]
    with pytest.raises(BadInput, match=r"does not fit mobilenet_v2|is not in the file") as caught:
        trained(SMALL, str(file), tmp_path)
    assert one_line(caught, file)


def test_groups_that_hold_one_another_end(tmp_path):
    """A cycle of hard links is walked once."""
    import h5py

    with h5py.File(tmp_path / "cycle.h5", "w") as made:
        made["a/x"] = np.ones(3, np.float32)
        made["a/b"] = made["a"]
    check_hdf5(tmp_path / "cycle.h5", ROOM, "save it again")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(tmp_path):
    """Serve a folder on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = lambda *given: _Quiet(*given, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def test_offered_weights_are_fetched_once_and_named(user, server, tmp_path, monkeypatch):
    """From an address, held to the hash that the framework states, into the cache; then the same path as a file."""
    url, folder = server
    data = (user[1] / "whole.h5").read_bytes()
    (folder / "imagenet.h5").write_bytes(data)
    offer = Offer(f"{url}/imagenet.h5", hashlib.md5(data, usedforsecurity=False).hexdigest())
    workload = plugins.workload(SMALL)
    offering = replace(workload, build=replace(workload.build, offers={"imagenet": offer}))
    monkeypatch.setitem(plugins.workloads(), SMALL, offering)
    told: list[float] = []
    found = trained(SMALL, "imagenet", tmp_path / "cache", told.append)
    assert found.source == f"imagenet, {offer.url}, sha256 {hashlib.sha256(data).hexdigest()}"
    assert told[-1] == 1
    (folder / "imagenet.h5").unlink()
    assert trained(SMALL, "imagenet", tmp_path / "cache") == found
    assert found.artifact.sha256 == trained(SMALL, str(user[1] / "whole.h5"), tmp_path / "cache").artifact.sha256


def test_what_cannot_be_fetched_is_one_line_that_says_what_to_do(server, tmp_path):
    """No network, no such file, other bytes than were offered: nothing stays in the cache."""
    url, folder = server
    (folder / "w.h5").write_bytes(b"abc")
    for offer, words in [
        (Offer("http://127.0.0.1:9/w.h5"), "cannot be fetched: .*refused"),
        (Offer("http://no-such-host.invalid/w.h5"), "cannot be fetched"),
        (Offer(f"{url}/none.h5"), "File not found"),
        (Offer(f"{url}/w.h5", "0" * 32), "its MD5 is 900150983cd24fb0d6963f7d28e17f72, and the framework states 000"),
    ]:
        with pytest.raises(RowFailed, match=words) as caught:
            fetch(offer, tmp_path / "cache")
        assert one_line(caught, offer.url)
        assert "give the file: --weights FILE" in str(caught.value)
    assert not list((tmp_path / "cache").glob("fetched-*"))


def test_the_addresses_are_keras_own():
    """What the zoo calls imagenet is what keras.applications fetches, with the hash that it states."""
    from keras.src.applications import densenet, mobilenet_v2, resnet

    wanted = {
        "resnet50": (resnet.BASE_WEIGHTS_PATH, resnet.WEIGHTS_HASHES["resnet50"][0]),
        "resnet101": (resnet.BASE_WEIGHTS_PATH, resnet.WEIGHTS_HASHES["resnet101"][0]),
        "densenet101": (densenet.DENSENET121_WEIGHT_PATH, None),
        "mobilenet_v2": (mobilenet_v2.BASE_WEIGHT_PATH, None),
    }
    assert {name for name in plugins.workloads() if "imagenet" in offered(name)} == set(wanted)
    for name, (base, md5) in wanted.items():
        offer = plugins.workload(name).build.offers["imagenet"]
        assert offer.url.startswith(base)
        assert md5 is None or offer.md5 == md5
    for module, name in ((resnet, "resnet50"), (densenet, "densenet101"), (mobilenet_v2, SMALL)):
        source = Path(module.__file__).read_text()
        offer = plugins.workload(name).build.offers["imagenet"]
        assert offer.md5 is None or offer.md5 in source
        assert "_weights_tf_dim_ordering_tf_kernels" in offer.url
