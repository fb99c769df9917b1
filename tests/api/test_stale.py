"""What was corrected between two searches counts in the second, in one process and in another
folder of the same name; a search that was begun with other files does not go on with these.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from tenslora_search import search
from tenslora_search.data.task import load_task
from tenslora_search.spec.table import QuestionError

OPTIONS = {
    "budget": "2k", "trials": 1, "max_steps": 60, "batch_size": 16, "retest": 1,
    "executor": "inline",
}  # fmt: skip


def write(path: Path, *, swapped: bool) -> None:
    """Labels that the first word says; all of them swapped, in a file of the same size."""
    rows = [
        (f"{'good' if n % 2 else 'weak'} plot {'very ' * (n % 9)}{n}", "no" if n % 2 else "ja")
        for n in range(200)
    ]
    other = {"no": "ja", "ja": "no"}
    frame = pd.DataFrame(rows, columns=["text", "label"])
    frame["label"] = frame["label"].map(other) if swapped else frame["label"]
    frame.to_csv(path, index=False)


def said_and_found(run, data: Path, model: str, to: Path) -> tuple[float, float]:
    """The score that the run says of its best, and that of its export on the file as it is now."""
    from transformers import AutoModelForSequenceClassification

    best = run.best()
    exported = AutoModelForSequenceClassification.from_pretrained(run.export(best, to, "merged"))
    report = load_task(data=data, model=model).report
    with torch.no_grad():
        logits = exported.eval()(**report.inputs).logits.numpy()
    found = float((logits.argmax(1) == report.labels.numpy()).mean())
    return float(run.trials().set_index("number").loc[best, "report_score"]), found


def test_data_that_is_corrected_between_two_searches(tiny_bert, tmp_path):
    data = tmp_path / "own.csv"
    digests = []
    for name, swapped in (("first", False), ("second", True)):
        write(data, swapped=swapped)
        run = search(data=data, model=tiny_bert, out=tmp_path / name, **OPTIONS)
        said, found = said_and_found(run, data, tiny_bert, tmp_path / f"{name} adapter")
        assert said == pytest.approx(found, abs=1e-6)
        digests.append(run.file.data_digest)
    assert digests[0] != digests[1]
    with pytest.raises(QuestionError, match=r"the data of .* has changed since it was begun"):
        search(data=data, model=tiny_bert, out=tmp_path / "first", **{**OPTIONS, "trials": 2})


def test_a_model_that_is_saved_anew_between_two_searches(tiny_bert, tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    data, model = tmp_path / "own.csv", tmp_path / "model"
    write(data, swapped=False)
    shutil.copytree(tiny_bert, model)
    config = BertConfig.from_pretrained(tiny_bert)
    runs = []
    for seed, width in ((0, 16), (7, 16), (7, 32)):
        torch.manual_seed(seed)
        config.hidden_size = width
        BertForMaskedLM(config).save_pretrained(model)
        run = search(data=data, model=model, out=tmp_path / f"{seed} {width}", **OPTIONS)
        said, found = said_and_found(run, data, str(model), tmp_path / f"adapter {seed} {width}")
        assert said == pytest.approx(found, abs=1e-6)
        runs.append(run)
    with pytest.raises(QuestionError, match=r"the model .* has changed since the search"):
        runs[0].export("best", tmp_path / "adapter", "native")
    with pytest.raises(QuestionError, match=r"the model of .* has changed since it was begun"):
        search(data=data, model=model, out=tmp_path / "0 16", **{**OPTIONS, "trials": 2})


def test_files_that_change_amid_a_search_are_refused(tiny_bert, tmp_path):
    data = tmp_path / "own.csv"
    write(data, swapped=False)
    expected = {"data": load_task(data=data, model=tiny_bert).digest, "model": None}
    load_task(data=data, model=tiny_bert, expected=expected)
    write(data, swapped=True)
    with pytest.raises(QuestionError, match=r"the data .*own\.csv has changed since the search"):
        load_task(data=data, model=tiny_bert, expected=expected)
    with pytest.raises(QuestionError, match=r"the model .*tiny-bert has changed since the search"):
        load_task(data=data, model=tiny_bert, expected={"model": "of other files"})
