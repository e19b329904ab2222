from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nir import LIF, Input, NIRGraph, Output, write
from PIL import Image
from served import tiny

from synfire.cli.models import Accept, Reading, find_all
from synfire.formats import write_bundle
from synfire.graph.images import accepting_images
from synfire.plan import Demand, Hop, memory_bytes
from synfire.plan.costs import format_bytes
from synfire.zoo import load, names, neighbourhood


@pytest.fixture
def nir(tmp_path: Path) -> Path:
    """Two leaky neurons of another framework."""
    neuron = LIF(tau=np.full(2, 1e-3), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.ones(2))
    shape = np.array([2])
    write(tmp_path / "net.nir", NIRGraph.from_list(Input(input_type=shape), neuron, Output(output_type=shape)))
    return tmp_path / "net.nir"


def test_show_lists_every_operator(run: Callable, bundle: Path) -> None:
    found = run("show", str(bundle), "--json").json
    assert [each["name"] for each in found["operators"]] == list(tiny().order())
    assert found["model"] == "tiny"
    assert found["content_digest"] == tiny().content_digest()


def test_show_prints_a_table(run: Callable, bundle: Path) -> None:
    ran = run("show", str(bundle))
    assert "tiny: 8 operators" in ran.out
    assert "ConstantCurrent" in ran.out


def test_show_draws_every_operator_stage_and_worker(run: Callable, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.svg"
    assert run("show", str(bundle), "--svg", str(file), "--granularity", "operator").code == 0
    texts = [each.text for each in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]
    assert set(tiny().order()) <= set(texts)
    assert {"worker-0", "worker-1"} <= set(texts)


def test_show_refuses_a_picture_that_cannot_be_written(run: Callable, bundle: Path, tmp_path: Path) -> None:
    ran = run("show", str(bundle), "--svg", str(tmp_path / "none" / "x.svg"))
    assert ran.code == 2
    assert "choose another --svg FILE" in ran.err


def test_share_counts_the_three_levels(run: Callable, tmp_path: Path) -> None:
    write_bundle(tiny(0), tmp_path / "one")
    write_bundle(tiny(1), tmp_path / "two")
    found = run("share", str(tmp_path / "one"), str(tmp_path / "two"), "--json").json
    assert found["models"] == ["one", "two"]
    assert found["structural"]["shared"] == 16
    assert found["content"]["shared"] < 16


def test_share_of_a_model_with_itself_under_another_name_shares_everything(run: Callable, bundle: Path) -> None:
    found = run("share", str(bundle), f"again={bundle}", "--json").json
    assert found["computation"]["shared"] == found["computation"]["operators"] == 16
    assert found["content"]["saved_bytes"] == found["content"]["bytes"] // 2 or found["content"]["saved_bytes"] > 0


def test_share_refuses_two_models_of_one_name(run: Callable, bundle: Path) -> None:
    ran = run("share", str(bundle), str(bundle))
    assert ran.code == 2
    assert "NAME=MODEL" in ran.err


def test_plan_says_why(run: Callable, bundle: Path) -> None:
    ran = run("plan", str(bundle), "--granularity", "block", "--workers", "2", "--explain")
    assert re.search(r"cut after \w+", ran.out)  # which one is best depends on what was measured
    assert "worker-0 runs" in ran.out


def test_plan_tells_what_was_measured_of_each_operator(run: Callable, bundle: Path) -> None:
    (plan,) = run("plan", str(bundle), "--json").json["plans"]
    out = run("plan", str(bundle), "--explain").out
    told = {line.split()[0]: line for line in out[out.index("operator ") :].splitlines()[1:] if line}
    assert list(told) == list(plan["operators"])
    spiking = [name for name, line in told.items() if line.endswith("%")]
    assert spiking
    assert all(told[name].endswith(f" {plan['operators'][name]['density']:.1%}") for name in spiking)
    assert all(each["seconds"] >= 0 for each in plan["operators"].values())


def test_plan_takes_the_threads_of_workers_into_account(run: Callable, bundle: Path) -> None:
    (plan,) = run("plan", str(bundle), "--threads", "3", "--json").json["plans"]
    assert plan["threads"] == 3
    assert "with 3 threads for each worker" in plan["explanation"]
    assert "with 3 threads each" in run("plan", str(bundle), "--threads", "3").out
    assert "threads" not in run("plan", str(bundle), "--threads", "1", "--explain").out


def test_plan_in_json_holds_stages_links_and_reasons(run: Callable, bundle: Path) -> None:
    (plan,) = run("plan", str(bundle), "--granularity", "operator", "--json").json["plans"]
    assert sum(len(stage["operators"]) for stage in plan["stages"]) == 8
    assert plan["workers"] == ["worker-0", "worker-1"]
    assert plan["reasons"]


def test_plan_refuses_workers_that_are_too_small(run: Callable, bundle: Path) -> None:
    ran = run("plan", str(bundle), "--memory", "10B")
    assert ran.code == 2
    assert "add workers" in ran.err


def test_costs_are_measured_once(run: Callable, bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFIRE_CACHE", str(home / "cache"))
    monkeypatch.setattr("synfire.deploy.planning.prices", Hop)
    first = run("plan", str(bundle), "--json").json
    monkeypatch.setattr("synfire.engines.measure.measure", lambda *_: pytest.fail("measured again"))
    assert run("plan", str(bundle), "--json").json == first
    assert len(list((home / "cache" / "costs").iterdir())) == 1


def test_an_imported_model_is_listed_shown_and_versioned(run: Callable, bundle: Path, tmp_path: Path) -> None:
    assert run("import", str(bundle), "--name", "mine", "--json").json["model"] == "mine@1"
    write_bundle(tiny(1), tmp_path / "other")
    assert run("import", str(tmp_path / "other"), "--name", "mine", "--json").json["model"] == "mine@2"
    listed = [each["name"] for each in run("list", "--json").json["models"]]
    assert {"mine@1", "mine@2"} <= set(listed)
    assert run("show", "mine@1", "--json").json["content_digest"] == tiny(0).content_digest()
    assert run("show", "mine", "--json").json["content_digest"] == tiny(1).content_digest()


def test_import_can_write_a_bundle_instead(run: Callable, bundle: Path, tmp_path: Path) -> None:
    assert run("import", str(bundle), "--out", str(tmp_path / "copy")).code == 0
    assert run("show", str(tmp_path / "copy"), "--json").json["content_digest"] == tiny().content_digest()


def test_import_refuses_a_damaged_bundle(run: Callable, bundle: Path) -> None:
    tensors = bundle / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    ran = run("import", str(bundle))
    assert ran.code == 1
    assert "damaged" in ran.err


def test_import_refuses_a_path_without_anything(run: Callable, tmp_path: Path) -> None:
    assert run("import", str(tmp_path / "nothing.nir")).code == 2


def test_a_nir_file_asks_for_its_discretisation(run: Callable, nir: Path) -> None:
    ran = run("show", str(nir), "--json")
    assert ran.code == 2
    assert "--discretisation" in ran.json["error"]
    assert "norse" in ran.json["error"]


@pytest.mark.parametrize("verb", ["show", "plan", "share"])
def test_a_nir_file_is_read_as_the_options_say(run: Callable, nir: Path, verb: str) -> None:
    options = ("--discretisation", "norse", "--dt-s", "1e-4", "--json")
    assert run(verb, str(nir), *options).code == 0
    beside_a_model_that_takes_no_options = run("plan", "svgg-digits", str(nir), *options)
    assert beside_a_model_that_takes_no_options.code == 0


def test_a_nir_file_is_asked_here(run: Callable, nir: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((5, 2), 30, np.float32))
    ran = run("infer", str(nir), "-i", str(tmp_path / "x.npy"), "--discretisation", "norse", "--dt-s", "1e-4", "--json")
    assert np.array(ran.json["outputs"]["output"]).shape == (5, 2)


def test_an_option_that_no_model_takes_is_refused(run: Callable, bundle: Path) -> None:
    ran = run("show", str(bundle), "--dt-s", "1e-4", "--json")
    assert ran.code == 2
    assert "--dt-s; leave it out, or name a file that is" in ran.json["error"]


def test_a_picture_model_can_accept_images(run: Callable, bundle: Path) -> None:
    found = run("show", str(bundle), "--accept", "image", "--json").json
    assert found["operators"][0]["kind"] == "ImageDecode"
    assert found["inputs"] == {"x": "bytes scalar per request"}


def test_import_keeps_that_a_model_accepts_images(run: Callable, bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(tmp_path / "x.png")
    assert run("import", str(bundle), "--name", "seen", "--accept", "image").code == 0
    as_file = run("infer", "seen", "-i", str(tmp_path / "x.png"), "--json").json
    as_numbers = run("infer", str(bundle), "-i", str(tmp_path / "x.png"), "--json").json
    assert as_file["scores"] == as_numbers["scores"]


def test_a_model_without_a_picture_cannot_accept_images(run: Callable) -> None:
    ran = run("show", "srnn-spoken", "--accept", "image", "--json")
    assert ran.code == 2
    assert "srnn-spoken: input 'input' is bytes" in ran.json["error"]


def test_models_without_a_picture_stay_as_they_are_beside_one_that_accepts_images(bundle: Path) -> None:
    picture, sound = find_all([str(bundle), "srnn-spoken"], Reading(accept=Accept.IMAGE))
    assert picture.graph.content_digest() == accepting_images(tiny()).content_digest()
    assert sound.graph.content_digest() == load("srnn-spoken").content_digest()


def test_import_refuses_a_name_of_the_zoo(run: Callable, bundle: Path) -> None:
    ran = run("import", str(bundle), "--name", "svgg-digits", "--json")
    assert ran.code == 2
    assert "choose another --name" in ran.json["error"]


def test_import_into_a_folder_that_exists_advises_what_there_is(run: Callable, bundle: Path) -> None:
    ran = run("import", str(bundle), "--out", str(bundle), "--json")
    assert ran.code == 2
    assert ran.json["error"] == f"{bundle} exists; choose another path, or remove it"


def test_import_of_a_folder_that_is_no_bundle_says_so_first(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "other" / "inner").mkdir(parents=True)
    ran = run("import", str(tmp_path / "other"), "--json")
    assert ran.code == 2
    assert "holds no graph.json, so it is no complete bundle" in ran.json["error"]


def test_plan_counts_in_words_and_shows_the_memory_that_is_checked(run: Callable, bundle: Path) -> None:
    said = run("plan", str(bundle), "-g", "model", "-w", "1").out
    assert said.startswith("tiny: 1 stage on 1 worker, frames of")
    held = memory_bytes(tiny(), tiny().order(), Demand.requests)
    assert f"holds ({Demand.requests} requests)" in said
    assert format_bytes(held) in said
    refused = run("plan", str(bundle), "-g", "model", "-w", "1", "--memory", "10B").err
    assert f"the stages need {format_bytes(held)} of memory" in refused


def test_infer_refuses_levels_where_the_model_takes_values_up_to_one(run: Callable, tmp_path: Path) -> None:
    for name, array in {"levels": np.full((1, 8, 8), 255), "ink": np.eye(8, dtype=np.int64)[None]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    ran = run("infer", "svgg-digits", "-i", str(tmp_path / "levels.npy"), "--json")
    assert ran.code == 2
    assert "takes values in [0, 1]; divide pixels by 255" in ran.json["error"]
    assert run("infer", "svgg-digits", "-i", str(tmp_path / "ink.npy"), "--json").code == 0


def test_list_holds_the_whole_zoo(run: Callable) -> None:
    listed = {each["name"]: each for each in run("list", "--json").json["models"]}
    assert set(names()) <= set(listed)
    assert all(listed[name]["accuracy"] > 0.7 for name in names())


def test_infer_answers_with_label_and_scores(run: Callable, bundle: Path) -> None:
    found = run("infer", str(bundle), "--digit", "3", "--json").json
    assert found["label"] == "abcdefghij"[int(np.argmax(found["scores"]))]
    assert len(found["scores"]) == 10


def test_infer_takes_arrays_and_pictures_alike(run: Callable, bundle: Path, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    (tmp_path / "x.png").write_bytes(file.getvalue())
    array = (levels / np.float32(255)).astype(np.float32)
    np.save(tmp_path / "x.npy", array[None])
    np.savez(tmp_path / "x.npz", x=array[None, None])
    answers = [
        run("infer", str(bundle), "--input", str(tmp_path / name), "--json").json
        for name in ("x.png", "x.npy", "x.npz")
    ]
    assert answers[0]["scores"] == answers[1]["scores"] == answers[2]["scores"]


def test_infer_takes_a_neighbourhood_of_the_callers_own_graph(run: Callable, tmp_path: Path) -> None:
    words = (np.random.default_rng(0).random((30, 1433)) < 0.01).astype(np.float32)
    ring = np.stack([np.arange(30), np.roll(np.arange(30), -1)])
    np.savez(tmp_path / "paper.npz", **neighbourhood(words, ring, node=4))
    found = run("infer", "sgnn-cora", "--input", str(tmp_path / "paper.npz"), "--json").json
    assert found["label"] in load("sgnn-cora").metadata["labels"]
    assert len(found["scores"]) == 7


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"no array", "no .npy file, whatever its name says; write it with numpy.save"),
        ("x.npz", b"no arrays", "write it with numpy.savez"),
        ("x.png", b"no picture", "no PNG or JPEG, whatever its name says"),
        ("x.wav", b"RIFF", "does not fit"),
    ],
)
def test_infer_refuses_files_that_are_not_what_they_say(
    run: Callable, bundle: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    ran = run("infer", str(bundle), "--input", str(tmp_path / name))
    assert ran.code == 2
    assert message in ran.err


def test_infer_refuses_a_wrong_shape_with_what_it_takes(run: Callable, bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 3), np.float32))
    ran = run("infer", str(bundle), "--input", str(tmp_path / "x.npy"))
    assert ran.code == 2
    assert "it takes value 1×8×8 per request" in ran.err


def test_infer_wants_exactly_one_input(run: Callable, bundle: Path) -> None:
    assert "either --input FILE or --digit N" in run("infer", str(bundle)).err


def test_infer_at_a_gateway_that_is_not_there_is_temporary(run: Callable) -> None:
    ran = run("infer", "x", "--digit", "1", "--url", "http://127.0.0.1:1")
    assert ran.code == 3
    assert "is it running?" in ran.err


def test_ps_without_deployments_says_how_to_start_one(run: Callable) -> None:
    assert "synfire serve MODEL" in run("ps").out
    assert run("ps", "--json").json == {"deployments": []}


def test_stop_without_deployments_is_a_mistake_but_stopping_all_is_not(run: Callable) -> None:
    assert run("stop").code == 2
    assert run("stop", "8000").code == 2
    assert run("stop", "--all", "--json").json == {"stopped": []}


def test_plan_puts_on_another_device_what_it_takes_and_says_what_stays(run: Callable) -> None:
    ran = run("plan", "svgg-digits", "--device", "darwin3", "--explain")
    assert (ran.code, "no time predicted" in ran.out) == (0, True)
    assert "encoder stays on cpu: it encodes analog values" in ran.out
    (plan,) = run("plan", "svgg-digits", "--device", "darwin3", "--json").json["plans"]
    assert [stage["engine"] for stage in plan["stages"]] == ["", "darwin3", ""]
    assert run("plan", "svgg-digits", "--device", "loihi9").code == 2
