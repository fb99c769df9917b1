"""TASKS: what a search can be asked about; one row each: where the rows come from, which columns,
which score.
"""

from tenslora_search.spec.table import Table
from tenslora_search.spec.tasks.labelled import LABELLED
from tenslora_search.spec.tasks.task import DEFAULT_MODELS, Kind, Task, check_reads
from tenslora_search.spec.tasks.written import WRITTEN

__all__ = ["DEFAULT_MODELS", "TASKS", "Kind", "Task", "check_reads"]

TASKS: Table[Task] = Table("task", {task.name: task for task in (*LABELLED, *WRITTEN)})
