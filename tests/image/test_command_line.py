"""`neuronkit compile` and `neuronkit run` of pipelines."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from neuronkit.cli import main
from neuronkit.images import save_images
from tests.image.pairs import TOLERANCE, images, load_pair, mask, picture

PROMPT = ("--prompt", "a red cat", "--steps", 3, "--seed", 0)


def run(*words):
    """Return the exit status of a command."""
    return main([str(word) for word in words])


def differ(file, expected):
    """Return how far an image file is from an image, in steps of a colour."""
    with Image.open(file) as image:
        return np.abs(np.asarray(image, dtype=int) - np.asarray(expected, dtype=int)).max()


@pytest.fixture(autouse=True)
def no_stdin(monkeypatch):
    """As if typed at a terminal."""
    monkeypatch.setattr("sys.stdin", None)


@pytest.fixture(scope="module")
def compiled(checkpoint, tmp_path_factory):
    """Artifacts that the command line compiled: an older name and spelling of task and shapes, and today's; graphs are cached."""
    root = tmp_path_factory.mktemp("cli")
    shapes = ("--batch_size", 1, "--height", 32, "--width", 32, "--num_images_per_prompt", 1)
    common = ("-O1", "-q", "--no-validate")
    words = ("compile", "--model", checkpoint("sd"), "--task", "stable-diffusion", *shapes, *common, root / "sd")
    assert run(*words) == 0
    words = ("compile", "--model", checkpoint("amused"), "--task", "text-to-image", *common, root / "amused")
    assert run(*words) == 0
    return root


@pytest.fixture(scope="module")
def eager(checkpoint, compiled):
    """Return diffusers' own pipeline of a class."""

    def load(name):
        recipe = "amused" if name.startswith("Amused") else "sd"
        return load_pair(name, checkpoint(recipe), compiled / recipe)[1]

    return load


def test_the_file_holds_the_image_and_what_made_it(compiled, eager, tmp_path, capsys):
    """The image is diffusers' for the same seed; the prompt and the settings are in the file."""
    output = tmp_path / "out.png"
    words = ("--negative-prompt", "blurry", "--guidance", 5, "--output", output)
    assert run("run", compiled / "sd", *PROMPT, *words) == 0
    assert capsys.readouterr().out == f"{output}\n"
    given = {"negative_prompt": "blurry", "guidance_scale": 5.0, "output_type": "pil"}
    assert differ(output, images(eager("StableDiffusionPipeline"), **given)[0]) <= 1
    with Image.open(output) as image:
        settings = {"guidance_scale": "5.0", "negative_prompt": "blurry", "num_inference_steps": "3", "seed": "0"}
        assert image.text == {"prompt": "a red cat", **settings}


def test_several_images(compiled, tmp_path, capsys):
    """One file for each, or one for all; with --json their names are JSON."""
    words = ("run", compiled / "sd", *PROMPT, "--num-images-per-prompt", 2, "--output", tmp_path / "a.png")
    assert run(*words, "--json") == 0
    files = [tmp_path / "a-0.png", tmp_path / "a-1.png"]
    assert json.loads(capsys.readouterr().out) == list(map(str, files))
    assert save_images([Image.open(file) for file in files], tmp_path / "a.png", grid=True) == [tmp_path / "a.png"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (64, 32)


def test_no_earlier_image_is_overwritten(compiled, tmp_path, capsys, monkeypatch):
    """Without --output the first name is taken whose files are not there, of one image, several, and a grid."""
    monkeypatch.chdir(tmp_path)
    one, two = ("run", compiled / "sd", "--prompt", "a", "--steps", 1), ("--num-images-per-prompt", 2)
    for words in ((), two, two, (), (*two, "--grid")):
        assert run(*one, *words, "--seed", 0) == 0
    assert capsys.readouterr().out.splitlines() == [
        "out.png",
        "out-0.png",
        "out-1.png",
        "out-1-0.png",
        "out-1-1.png",
        "out-2.png",
        "out-3.png",
    ]
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("folder", " {0}/folder is a directory. Try: the name of a file in it"),
        ("out.txt", ": {0}/out.txt has no ending of an image file. Try: {0}/out.png"),
        ("out", ": {0}/out has no ending of an image file. Try: {0}/out.png"),
        ("file/out.png", " {0}/file/out.png cannot be written: {0}/file is not a directory"),
    ],
)
def test_an_output_that_cannot_be(output, message, compiled, tmp_path, capsys, monkeypatch):
    """It is refused before anything runs."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr("neuronkit.NeuronStableDiffusionPipeline.__call__", None)
    assert run("run", compiled / "sd", "--prompt", "a", "--output", tmp_path / output) == 2
    assert f"neuronkit run: error: --output{message.format(tmp_path)}\n" in capsys.readouterr().err


@pytest.mark.parametrize(("recipe", "size", "masked"), [("sd", 32, True), ("amused", 16, False)])
def test_an_image_and_a_mask_choose_the_task(recipe, size, masked, compiled, eager, tmp_path):
    """The same artifact repaints; arguments of the pipeline that are no options are handed on, and are in the file."""
    picture(size).save(tmp_path / "in.png")
    mask(size).save(tmp_path / "mask.png")
    given = {"image": picture(size), "strength": 0.9, "output_type": "pil"}
    words = ["--image", tmp_path / "in.png", "--strength", 0.9, "--output", tmp_path / "out.png"]
    if masked:
        words += ["--mask", tmp_path / "mask.png", "--eta", 0.5]
        pipeline, more = eager("StableDiffusionInpaintPipeline"), {"mask_image": mask(size), "eta": 0.5}
    else:
        words += ["--temperature", "3,1"]
        pipeline, more = eager("AmusedImg2ImgPipeline"), {"temperature": [3, 1]}
    assert run("run", compiled / recipe, *PROMPT, *words) == 0
    assert differ(tmp_path / "out.png", images(pipeline, **given, **more)[0]) <= 1
    with Image.open(tmp_path / "out.png") as image:
        assert image.text.items() >= ({"eta": "0.5"} if masked else {"temperature": "[3, 1]"}).items()


def test_an_image_that_is_not_there(compiled, capsys):
    """A message, no traceback."""
    assert run("run", compiled / "sd", "--prompt", "a cat", "--image", "nope.png") == 1
    errors = capsys.readouterr().err
    assert "error: nope.png cannot be read as an image" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("kind", ["latent", "np", "pt"])
def test_numbers_in_place_of_images(kind, compiled, eager, tmp_path, capsys, monkeypatch):
    """They are written whole, to a file of numbers or as JSON; the name of another kind of file is refused before anything runs."""
    words = ("run", compiled / "sd", *PROMPT, "--output-type", kind)
    assert run(*words, "--output", tmp_path / "out.npy") == 0
    assert f"{tmp_path}/out.npy written" in capsys.readouterr().err
    expected = np.asarray(images(eager("StableDiffusionPipeline"), output_type=kind))
    found = np.load(tmp_path / "out.npy")
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE
    assert run(*words, "--json", "--output", tmp_path / "out.json") == 0
    assert np.array_equal(np.array(json.loads((tmp_path / "out.json").read_text()), dtype=np.float32), found)
    monkeypatch.setattr("neuronkit.NeuronStableDiffusionPipeline.__call__", None)
    assert run(*words, "--output", tmp_path / "out.png") == 2
    assert (
        f"neuronkit run: error: --output: {tmp_path}/out.png would hold the numbers of --output-type {kind}. "
        f"Try: {tmp_path}/out.npy, or --json, which writes them as lists\n"
    ) in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_a_seed_that_is_none(compiled, capsys):
    """One that no generator takes is refused by name."""
    assert run("run", compiled / "sd", "--prompt", "a", "--seed", 2**64) == 1
    assert "error: seed: must be a number of 64 bits (got 18446744073709551616).\n" in capsys.readouterr().err
