"""card(): the model card of an exported adapter: what it scores, what it is, how this very folder
is loaded.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import mean, stdev
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from tenslora_search.data.metrics import METRICS
from tenslora_search.export.facts import Base, Facts
from tenslora_search.export.formats import AS_IT_IS, HEAD_CODE, HEAD_IMPORTS, NEW_HEAD, Format
from tenslora_search.hub.places import HUB_ID
from tenslora_search.runs.provenance import versions
from tenslora_search.spec.metrics import SHOWN, is_loss
from tenslora_search.spec.served import Served, served
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.spec.wordings import Wording

TAG = "tenslora-search"
"""In every card's front matter: by it an export is told from a folder of something else."""


def card(facts: Facts, spec: TrialSpec, base: Base, format: Format, folder: str) -> str:
    """The text of README.md: front matter as hubs read it, then what a person needs."""
    title = f"{spec.method} for {_plain(facts.task)}"
    code = loading_code(facts, base, format, folder)
    configuration = _lines({**spec.to_json(), **facts.training})
    return f"""---
{_front_matter(facts, base, format, title)}
---

# {title}

{spec.method} ({spec.adapter.construction} x {spec.adapter.decomposition}) on
{_plain(base.name)}: trial {facts.number} of a search by tenslora-search within {facts.budget:,}
trainable parameters.

| | |
| --- | --- |
{_rows(facts, spec)}

{_about_the_weights(facts)}

## Load it

```python
{code}```

{_predict(facts)}{_about_the_base(base, format)}
## Configuration

```json
{configuration}
```

## Made by

{_fenced(_without_places(facts.command) if facts.push else facts.command)}
"""


def _plain(text: str) -> str:
    """On one line, and no markup of a page."""
    return " ".join(text.split()).replace("<", "&lt;").replace("`", "'")


def _fenced(text: str) -> str:
    """Between fences longer than any within."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _without_places(command: str) -> str:
    """Lines for a shell, with the last part alone of each path; ids on a hub stay."""
    lines = [shlex.split(line) for line in command.splitlines()]
    return "\n".join(shlex.join(map(_last_parts, words)) for words in lines)


def _last_parts(word: str) -> str:
    """`--name=/a/b,/c/d` is `--name=b,d`."""
    return re.sub(r"[^=,]+", lambda one: _last_part(one[0]), word)


def _last_part(text: str) -> str:
    is_place = "/" in text and not HUB_ID.fullmatch(text)
    return PurePath(text).name if is_place else text


def loading_code(facts: Facts, base: Base, format: Format, folder: str) -> str:
    """The lines after which `model` and its `tokenizer` or `processor` are there."""
    has_head, imports = facts.goal.n_outputs > 0, format.imports
    names = ["AutoConfig"] * (format.needs_base and has_head)
    if facts.kind == "image":
        imports += (
            "from transformers.models.auto.image_processing_auto import AutoImageProcessor "
            " # without torchvision\n"
        )
        reader = (
            'processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # the '
            "pixels of the search"
        )
    else:
        names.append("AutoTokenizer")
        reader = "tokenizer = AutoTokenizer.from_pretrained(folder)"
    auto = facts.goal.auto[facts.reads]
    classes = ", ".join(sorted([auto, *names]))
    head = HEAD_CODE if facts.is_headless else ""
    imports += HEAD_IMPORTS if head else ""
    loaded = (NEW_HEAD if has_head else AS_IT_IS).format(auto=auto, base=base.code)
    load = format.load.format(auto=auto, base=base.code, loaded=loaded, head=head)
    here = repr(folder)
    if facts.push:
        imports += "from huggingface_hub import snapshot_download\n"
        here = f"snapshot_download({facts.push!r})"
    return (
        f"from transformers import {classes}\n{imports}\nfolder = {here}  # this "
        f"one\n{reader}\n{load}"
    )


def _lines(data: Mapping[str, Any], indent: str = "  ") -> str:
    """JSON, an entry a line: lists of many ranks stay on theirs."""
    entries = [
        f"{indent}{json.dumps(name)}: "
        f"{_lines(value, indent + '  ') if name == 'adapter' else json.dumps(value)}"
        for name, value in data.items()
    ]
    return "{\n" + ",\n".join(entries) + "\n" + indent[2:] + "}"


def _front_matter(facts: Facts, base: Base, format: Format, title: str) -> str:
    task = facts.goal.pipeline[facts.reads]
    metric = METRICS[facts.metric].hub_name
    sign, name = (-1, metric) if is_loss(facts.metric) else (1, facts.metric)
    results = [
        EvalResult(
            task_type=task,
            dataset_type=facts.dataset or facts.task,
            dataset_name=facts.task,
            dataset_split="report",
            metric_type=metric,
            metric_name=f"{name} on report, {what}",
            metric_value=value,
        )
        for what, value in _reported([sign * score for score in facts.report_scores]).items()
    ]
    return ModelCardData(
        base_model=base.hub,
        datasets=[facts.dataset] if facts.dataset else None,
        license=facts.license,
        library_name=format.library,
        pipeline_tag=task,
        tags=[TAG, task, *(["lora"] if format.library == "peft" else [])],
        metrics=[metric],
        model_name=title if results else None,
        eval_results=results or None,
    ).to_yaml()


def _reported(scores: Sequence[float]) -> dict[str, float]:
    """What a hub's table of results says: the score of these weights, and its spread over seeds."""
    if not scores:
        return {}
    found = {"these weights": scores[0]}
    if len(scores) > 1:
        found[f"mean of {len(scores)} seeds"] = mean(scores)
        found[f"standard deviation over {len(scores)} seeds"] = stdev(scores)
    return found


def _rows(facts: Facts, spec: TrialSpec) -> str:
    scores = facts.report_scores
    rows = [
        (
            f"{facts.metric} on report ({facts.report_rows:,} rows), these weights",
            f"{scores[0]:.4f}" if scores else "not measured",
        )
    ]
    if scores and facts.metric in SHOWN:
        shown, number_of = SHOWN[facts.metric]
        rows.append((f"{shown} on report, these weights", f"{number_of(scores[0]):.4f}"))
    if len(scores) > 1:
        spread = f"{mean(scores):.4f} ± {stdev(scores):.4f} (standard deviation)"
        rows.append((f"{facts.metric} on report, mean of {len(scores)} seeds", spread))
    rows += [
        (f"{facts.metric} on select, in the search", f"{facts.select_score:.4f}"),
        ("trained parameters of the adapter", f"{spec.adapter.n_params:,}"),
        *(
            [("trained parameters of the task head", f"{facts.head_params:,}")]
            if facts.goal.n_outputs
            else []
        ),
        (
            "ranks",
            ", ".join(map(str, spec.adapter.ranks)) or "none"
            if len(spec.adapter.ranks) <= 16
            else "see below",
        ),
        ("served as", _served(facts.served or served(spec.adapter))),
        *([("compressed", facts.cost.said(facts.metric))] if facts.cost else []),
        ("written with", ", ".join(f"{name} {one}" for name, one in versions(WRITERS).items())),
    ]
    return "\n".join(f"| {name} | {value} |" for name, value in rows)


WRITERS = ("tenslora-search", "torch", "transformers")
"""The libraries whose versions decide whether a folder loads: names of modules are theirs."""


def _served(what: Served) -> str:
    """LoRA's rank, bytes and multiply-adds."""
    macs = f"{what.extra_macs:,} more multiply-adds a token, none once merged"
    if what.rank is None or what.bytes is None:
        return f"a dense update, no LoRA: {macs}"
    return f"LoRA of rank {what.rank}, {what.bytes:,} bytes: {macs}"


def _about_the_weights(facts: Facts) -> str:
    cut = ""
    if facts.cut_from is not None:
        cut = f"Trial {facts.cut_from}, trained with more parameters, was cut down to this. "
    if not facts.report_scores:
        return (
            f"{cut}The weights are those of the search, which chose by select; they were not "
            "trained again from fresh seeds, and nothing was scored on report."
        )
    return (
        f"{cut}The search chose by select. Then the trial was trained again from fresh seeds"
        f"{', cut down again' if cut else ''} and scored, once, on report, which the\n"
        "search never saw; these are the weights of the first of those seeds. Another machine may "
        "round otherwise."
    )


def _about_the_base(base: Base, format: Format) -> str:
    if not base.note or not format.needs_base:
        return ""
    recorded = (
        f" adapter_config.json names its place at the time of export, `{_plain(base.place)}`."
        if format.library == "peft" and base.hub is None and base.place
        else ""
    )
    return f"\n{base.note}{recorded}\n"


def _predict(facts: Facts) -> str:
    if facts.kind == "image":
        first = (
            "from PIL import Image, ImageOps\n\n"
            'image = ImageOps.exif_transpose(Image.open("image.png"))  # upright\n'
            'inputs = processor(image.convert("RGB"), return_tensors="pt")'
        )
    else:
        one = _prompt(facts.wording)
        texts = '"the first text", "the second"' if facts.kind == "text_pair" else one
        first = (
            f"inputs = tokenizer({texts}, truncation=True, "
            f'max_length={facts.training["max_length"]}, return_tensors="pt")'
        )
    offset = " + model.config.label_offset" if facts.label_offset else ""
    answer = facts.goal.answer_code(offset)
    return f"```python\n{first}\nanswer = {answer}\n```\n{_pipeline(facts)}"


def _pipeline(facts: Facts) -> str:
    """The same by transformers' pipeline, where it has one for texts."""
    job = facts.goal.pipeline[facts.reads]
    if facts.kind != "text" or job != "text-classification" or facts.label_offset:
        return ""
    return (
        f"\nFor many texts, cut as in training:\n\n```python\nfrom transformers import pipeline\n\n"
        f'read = pipeline("{job}", model=model, tokenizer=tokenizer, '
        f'{facts.goal.pipeline_options})\nanswers = read(["a text", "another"])\n```\n'
    )


CHAT = (
    "tokenizer.apply_chat_template("
    '[{"role": "user", "content": "a question"}], tokenize=False, add_generation_prompt=True)'
)


def _prompt(wording: Wording | None) -> str:
    """Python for a prompt as those of the search were: what stands in braces is to be filled in."""
    if wording is not None and wording.kind == "messages":
        return CHAT
    return repr(wording.prompt) if wording is not None and wording.prompt else '"a text"'
