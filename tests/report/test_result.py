"""result.json: what its schema says."""

import json

import pytest

from tenslora_search.report.reading import read_run
from tenslora_search.report.result import SCHEMA, result

jsonschema = pytest.importorskip("jsonschema")  # comes with ray


def test_a_result_is_as_its_schema_says(digits, write_run, tmp_path):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    written = json.loads((digits / "result.json").read_text())
    assert written == result(read_run(digits))
    jsonschema.validate(written, schema)
    assert [one["number"] for one in written["front"]]
    for one in written["front"]:
        said = [part.split(",") for part in one["ranks"].split(" | ")]
        ranks = [
            each if isinstance(each, list) else [each] for each in one["ranks_by_bond"].values()
        ]
        assert [list(map(str, copy)) for copy in zip(*ranks, strict=True)] == said
    assert written["picks"]["best"] == written["front"][0]["number"]
    empty = result(read_run(write_run(tmp_path / "none", 1)))
    jsonschema.validate(json.loads(json.dumps(empty, allow_nan=False)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**written, "front": [{"number": 1}]}, schema)
