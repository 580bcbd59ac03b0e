"""Every architecture gives eager's tokens: in any batch, with any padding, in one dynamic graph and in fixed buckets."""

from __future__ import annotations

import json

import pytest
import torch

import neuronkit
from neuronkit.errors import SourceError
from neuronkit_plugins.text.causal_lm import plugin
from neuronkit_plugins.text.causal_lm.architectures import rope_kinds
from neuronkit_plugins.text.causal_lm.graph import decoder_graph, examine
from tests.generation.checkpoints import CONFIGS, tiny_decoder
from tests.generation.prompts import alone, new_tokens, padded, texts

PROMPTS = texts(3, 12, 1, 8)
GREEDY = {"max_new_tokens": 14, "do_sample": False}


def static_options(architecture: str) -> dict:
    """Fixed buckets; most architectures have them without the export, which takes seconds a bucket and is theirs alike."""
    exported = architecture == "gpt2"
    return {"static": True, "buckets": (8, 40)} | ({} if exported else {"backend": "recording", "cache": False})


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_greedy_tokens_are_eagers(compiled, eager, architecture, static):
    """Windows of six tokens (mistral, the upper layer of qwen2) are shorter than the texts."""
    model = compiled(architecture, **(static_options(architecture) if static else {}))
    expected = alone(eager(architecture), PROMPTS, **GREEDY)
    assert any(len(set(tokens)) > 4 for tokens in expected)
    for side in ("left", "right"):
        result = model.generate(**padded(PROMPTS, side), **GREEDY)
        assert new_tokens(result, 12, expected) == expected
    single = model.generate(PROMPTS[1][None], **GREEDY)
    assert single[0, 12:].tolist() == expected[1]


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
def test_one_row(compiled, eager, static):
    """A batch size of one, and more prompts than that."""
    options = {"static": True, "backend": "recording", "cache": False} if static else {}
    model = compiled("gpt2", batch_size=1, **options)
    expected = alone(eager("gpt2"), PROMPTS, **GREEDY)
    result = model.generate(**padded(PROMPTS), **GREEDY)
    assert new_tokens(result, 12, expected) == expected


def test_graphs(compiled):
    """One dynamic graph, or a bucket for a single token and one for every prefill length."""
    (dynamic,) = compiled().session.graphs.values()
    assert [bucket.sizes["sequence"] for bucket in dynamic.buckets] == [40]
    (fixed,) = compiled("gpt2", static=True, buckets=(8, 40)).session.graphs.values()
    assert [bucket.sizes["sequence"] for bucket in fixed.buckets] == [1, 8, 40]
    for model in (compiled(), compiled("gpt2", static=True, buckets=(8, 40))):
        assert {name: tuple(tensor.shape) for name, tensor in model.session.state.items()} == {
            f"{kind}_{layer}": (4, 4, 41, 8) for layer in (0, 1) for kind in ("key", "value")
        }


@pytest.mark.parametrize("architecture", ["gpt_neo", "bloom"])
def test_what_no_key_serves(tmp_path, architecture):
    """The error names the architecture, and what there is for the task."""
    path = refused_checkpoint(tmp_path, architecture)
    with pytest.raises(neuronkit.NeuronkitError) as caught:
        neuronkit.compile(path, tmp_path / "out", task="text-generation", optlevel=1)
    assert f"No plugin is installed for '{architecture}.text-generation'" in str(caught.value)
    assert "gpt2" in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [("gpt_neo", "it cuts its own causal mask"), ("bloom", "its attention is biased by distances (ALiBi)")],
)
def test_what_the_wrapper_refuses(tmp_path, architecture, reason):
    """Also under a key that somebody else declares for it."""
    path = refused_checkpoint(tmp_path, architecture)
    with (
        neuronkit.get_registry().temporary(plugin, f"{architecture}.text-generation"),
        pytest.raises(SourceError) as caught,
    ):
        neuronkit.compile(path, tmp_path / "out", task="text-generation", optlevel=1)
    assert f"{architecture} cannot be compiled for text-generation: {reason}" in str(caught.value)
    assert "Try: gpt2, opt" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_falcon_with_alibi(tmp_path):
    path = tiny_decoder(tmp_path / "falcon", "falcon", alibi=True)
    with pytest.raises(SourceError, match="falcon cannot be compiled for text-generation: its attention is biased"):
        neuronkit.compile(path, tmp_path / "out", task="text-generation", optlevel=1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"rope_type": "dynamic", "factor": 2.0},
            "its rotary positions (rope_type 'dynamic') are scaled by the length of the text, which changes at every step",
        ),
        (
            {
                "rope_type": "longrope",
                "factor": 2.0,
                "original_max_position_embeddings": 32,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
            },
            "its rotary positions (rope_type 'longrope') change for the whole text once it is long enough",
        ),
    ],
    ids=["dynamic", "longrope"],
)
@pytest.mark.parametrize("field", ["rope_parameters", "rope_scaling"])
def test_rotary_positions_that_change(tmp_path, settings, reason, field):
    """Under the names of both generations of configurations."""
    path = tiny_decoder(tmp_path / "llama", "llama", rope_parameters={"rope_theta": 10000.0, **settings})
    config = json.loads((path / "config.json").read_text())
    config[field] = config.pop("rope_parameters")
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError) as caught:
        neuronkit.compile(path, tmp_path / "out", task="text-generation", optlevel=1)
    assert str(caught.value).startswith(f"llama cannot be compiled for text-generation: {reason}.\nTry: ")


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({}, set()),
        ({"rope_scaling": None}, set()),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, {"linear"}),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}, "sliding_attention": None}}, {"yarn"}),
    ],
    ids=str,
)
def test_kinds_of_rotary_positions(config, kinds):
    assert rope_kinds(config) == kinds


def refused_checkpoint(path, architecture):
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"hidden_size": 32, "vocab_size": 96, "max_position_embeddings": 64}
    small |= {"gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}}.get(
        architecture, {"n_layer": 2, "n_head": 4}
    )
    AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **small)).save_pretrained(path / "refused")
    return path / "refused"


AFTER_THE_HEAD = {
    "granite": {"logits_scaling": 2.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    "cohere": {"logit_scale": 0.5},
    "gemma2": {
        "final_logit_softcapping": 2.0,
        "head_dim": 8,
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
"""Architectures that scale or cap their logits, with fields of their configurations."""


def untested_checkpoint(path, architecture, **config):
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {**CONFIGS["llama"], "num_hidden_layers": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    small |= {"initializer_range": 0.3, **config}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **small)).save_pretrained(path)
    return path


@pytest.mark.parametrize("architecture", AFTER_THE_HEAD)
def test_logits_that_are_changed_after_the_head(tmp_path, architecture):
    """They are the model's own, of the last token and of all."""
    from transformers import AutoModelForCausalLM

    path = untested_checkpoint(tmp_path / architecture, architecture, **AFTER_THE_HEAD[architecture])
    eager = AutoModelForCausalLM.from_pretrained(path).eval()
    given = {"batch_size": 4, "sequence_length": 40, "optlevel": 1, "task": "text-generation"}
    with neuronkit.get_registry().temporary(plugin, f"{architecture}.text-generation"):
        neuronkit.compile(path, tmp_path / "last", **given)
        neuronkit.compile(path, tmp_path / "all", all_logits=True, **given)
        last, every = (neuronkit.load(tmp_path / name) for name in ("last", "all"))
    expected = alone(eager, PROMPTS, **GREEDY)
    assert new_tokens(last.generate(**padded(PROMPTS), **GREEDY), 12, expected) == expected
    with torch.no_grad():
        wanted = eager(input_ids=PROMPTS[1][None]).logits
    torch.testing.assert_close(every(PROMPTS[1][None]).logits, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(last(PROMPTS[1][None]).logits, wanted[:, -1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_heads_that_are_called_alone(eager, architecture):
    """Those of all architectures that have a key."""
    _, plain = examine(eager(architecture))
    assert plain


KEEPS_A_STATE = (
    "cannot be compiled for text-generation: it keeps a state between tokens that is no cache of keys and values."
)


@pytest.mark.parametrize(
    ("architecture", "config", "message"),
    [
        (
            "lfm2",
            {"layer_types": ["conv", "full_attention"]},
            "lfm2 has layers of a kind that cannot be compiled: conv.",
        ),
        ("mamba", {"state_size": 4}, f"mamba {KEEPS_A_STATE}"),
        (
            "mpt",
            {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "expansion_ratio": 2},
            "mpt cannot be compiled for text-generation: its attention is biased by distances (ALiBi) that it derives from the "
            "length of its cache.",
        ),
    ],
)
def test_models_that_a_graph_cannot_be_made_of(architecture, config, message):
    """Whoever asks for it: a plugin of another package calls the function itself."""
    from transformers import AutoConfig, AutoModelForCausalLM, Lfm2ForCausalLM

    small = {
        "vocab_size": 96,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    small = {"vocab_size": 96} if architecture == "mpt" else small
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **small, **config)).eval()
    if isinstance(model, Lfm2ForCausalLM) and model._is_stateful:  # releases of transformers differ in this
        message = f"lfm2 {KEEPS_A_STATE}"
    with pytest.raises(SourceError) as caught:
        decoder_graph(model, [8], rows=1, pad_token_id=0)
    assert str(caught.value).partition("\n")[0] == message
