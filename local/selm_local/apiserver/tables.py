"""Tables, the form in which kubectl prints: column definitions and cells.

Custom resources bring their columns (`additionalPrinterColumns`); built-in kinds have those of `printers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from selm_local.apiserver.durations import age_of, since
from selm_local.apiserver.jsonpath import compile_path
from selm_local.apiserver.kinds.base import Strategy
from selm_local.apiserver.printers import PRINTERS, Cells
from selm_local.apiserver.storage import Object

NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow "
    "a client to request the generation of an appropriate name automatically."
)
AGE_COLUMN = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


@dataclass(frozen=True)
class Row:
    cells: list[Any]
    conditions: list[Object] = field(default_factory=list)


def _column(name: str, kind: str = "string", form: str = "", priority: int = 0, description: str = "") -> Object:
    return {"name": name, "type": kind, "format": form, "description": description or name, "priority": priority}


_NAME_COLUMN = _column("Name", form="name", description=NAME_TEXT)


def columns_of(strategy: Strategy) -> list[Object]:
    """columnDefinitions."""
    printed = strategy.printer_columns
    if printed is not None:
        return [
            _NAME_COLUMN,
            *(
                _column(c["name"], c["type"], c.get("format", ""), c.get("priority", 0), c.get("description", ""))
                for c in printed
            ),
        ]
    printer = PRINTERS.get((strategy.resource.group, strategy.resource.kind))
    columns = printer.columns if printer else (("Age", "string", 0),)
    shown = [_column(name, kind, "name" if name == "Name" else "", priority) for name, kind, priority in columns]
    return [_NAME_COLUMN, *shown] if printer is None or printer.name_first else shown


def row_of(strategy: Strategy, obj: Object) -> Row:
    """Cells in the order of columns_of."""
    name = obj["metadata"]["name"]
    printed = strategy.printer_columns
    if printed is not None:
        return Row([name, *(_cell(obj, c) for c in printed)])
    printer = PRINTERS.get((strategy.resource.group, strategy.resource.kind))
    if printer is None:
        return Row([name, age_of(obj)])
    cells: Cells = printer.cells(obj)
    conditions = printer.conditions(obj) if printer.conditions else []
    return Row([name, *cells] if printer.name_first else cells, conditions)


def _cell(obj: Object, column: Object) -> Any:
    found = [v for v in compile_path(column["jsonPath"])(obj) if v is not None]
    if not found:
        return None
    value = found[0]
    match column["type"]:
        case "integer":
            return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "number":
            return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return since(str(value))
        case _:
            return value if isinstance(value, str) and len(found) == 1 else _text(found)


def _text(found: list[Any]) -> str:
    return ",".join("true" if v is True else "false" if v is False else str(v) for v in found)
