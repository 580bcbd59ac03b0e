"""
What only a device can show: the assumptions that ``docs/neuron.md`` lists, on tiny checkpoints. Skipped elsewhere.

That page also says how to run them on an inf2.xlarge, and on the stand-in, to see that the tests themselves are sound.
"""

from __future__ import annotations

import pytest
import torch

import neuronkit
from neuronkit.artifact import manifest as manifests
from neuronkit.backends.neuron import sdk
from neuronkit.backends.neuron.errors import NeuronCompileError
from neuronkit.backends.neuron.host import Host
from tests.generation.checkpoints import tiny_decoder
from tests.image.checkpoints import tiny_stable_diffusion
from tests.plugins.encoders import eager_model, example, tiny_encoder

BERT = ("bert", "question-answering")


def obstacle() -> str | None:
    """Return why there is nothing to test here, or None."""
    found = sdk.installed()
    if not Host().device_nodes():
        return "there is no Neuron device (/dev/neuron0) on this machine"
    return found.problem or found.compiler_problem


REASON = obstacle()
pytestmark = [
    pytest.mark.neuron,
    pytest.mark.skipif(REASON is not None, reason=f"needs a Neuron device and its packages: {REASON}"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny BERT."""
    return tiny_encoder(tmp_path_factory.mktemp("checkpoint") / "bert", *BERT)


def compile_bert(checkpoint, output, **options):
    """Compile it for two rows of 16 tokens on this machine."""
    neuronkit.compile(checkpoint, output, task=BERT[1], backend="neuron", batch_size=2, sequence_length=16, **options)
    return output


def assert_equal(model, checkpoint, *, atol: float = 1e-3, times: int = 1) -> None:
    """Compare ragged calls with eager, and repeated ones with each other."""
    eager = eager_model(checkpoint, BERT[1])
    inputs = example(*BERT, 3, 11, padding="right")
    with torch.no_grad():
        expected = eager(**inputs)
    first = None
    for _ in range(times):
        found = model(**inputs)
        for name in ("start_logits", "end_logits"):
            assert torch.allclose(found[name], expected[name], atol=atol)
            assert first is None or torch.equal(found[name], first[name])
        first = found


def test_a_program_compiled_without_the_device_validates_and_repeats(checkpoint, tmp_path):
    artifact = compile_bert(checkpoint, tmp_path / "out")

    assert manifests.read(artifact).validation.status == "passed"
    assert_equal(neuronkit.load(artifact), checkpoint, times=4)
    assert_equal(neuronkit.load(artifact, placement="1"), checkpoint)


def test_weights_apart_serve_a_sibling(checkpoint, tmp_path):
    compile_bert(checkpoint, tmp_path / "one", inline_weights=False)
    sibling = tiny_encoder(tmp_path / "sibling", *BERT, seed=7)
    compile_bert(sibling, tmp_path / "two", inline_weights=False)

    assert_equal(neuronkit.load(tmp_path / "one"), checkpoint)
    assert_equal(neuronkit.load(tmp_path / "two"), sibling)


@pytest.mark.parametrize("options", [{"auto_cast": "matmul"}, {"dynamic_batch_size": True}, {"optlevel": 1}])
def test_options(checkpoint, tmp_path, options):
    artifact = compile_bert(checkpoint, tmp_path / "out", **options)
    assert_equal(neuronkit.load(artifact), checkpoint, atol=0.5 if "auto_cast" in options else 1e-3)


@pytest.mark.parametrize("inline", [True, False])
def test_a_decoder_generates_eager_s_tokens_twice(tmp_path, inline):
    from transformers import AutoModelForCausalLM

    path = tiny_decoder(tmp_path / "gpt2", "gpt2")
    neuronkit.compile(
        path,
        tmp_path / "out",
        task="text-generation",
        backend="neuron",
        batch_size=2,
        sequence_length=32,
        inline_weights=inline,
    )
    model = neuronkit.load(tmp_path / "out")
    prompt = torch.tensor([[5, 9, 17, 3], [8, 4, 4, 6]])
    eager = AutoModelForCausalLM.from_pretrained(path).generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False
    )
    for _ in range(2):
        found = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False)
        assert torch.equal(found, eager)


@pytest.mark.parametrize(("mode", "inline"), [("none", True), ("unet", True), ("unet", False)])
def test_an_image_equals_eager_s(tmp_path, mode, inline):
    import diffusers

    path = tiny_stable_diffusion(tmp_path / "sd")
    neuronkit.compile(
        path,
        tmp_path / "out",
        task="text-to-image",
        backend="neuron",
        batch_size=1,
        height=32,
        width=32,
        data_parallel_mode=mode,
        inline_weights=inline,
    )
    images = []
    for pipe in (neuronkit.load(tmp_path / "out"), diffusers.StableDiffusionPipeline.from_pretrained(path)):
        generator = torch.Generator().manual_seed(3)
        call = pipe("a red cat", num_inference_steps=3, height=32, width=32, generator=generator, output_type="pt")
        images.append(torch.as_tensor(call.images))
    assert torch.allclose(*images, atol=1e-2)


def test_a_refused_flag_is_explained(checkpoint, tmp_path):
    if Host().architecture() != "trn1":
        pytest.skip("trn2 takes --lnc 2")
    with pytest.raises(NeuronCompileError, match="NCC_EARG001"):
        compile_bert(checkpoint, tmp_path / "out", compiler_args="--lnc 2")
