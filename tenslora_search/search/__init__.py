"""MANY trials: space, study, engine, run. The package is callable: `from tenslora_search import search` names both."""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """Whoever imports a module of this package binds the package's name where the function `search` should be."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from tenslora_search.search.run import search

        return search(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
