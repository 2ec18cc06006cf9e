"""A measured figure, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    goal: str
    """`>= 0.85` or `< 1.5`; empty where there is none."""
    note: str = ""

    @property
    def shown(self) -> str:
        """The value as people read it."""
        return f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.2f}"

    @property
    def met(self) -> str:
        """Whether the goal is met."""
        if not self.goal:
            return ""
        sign, bound = self.goal.split()
        limit = float(bound.replace(",", ""))
        return "yes" if (self.value >= limit if sign == ">=" else self.value <= limit) else "NO"


def print_table(figures: Iterable[Figure]) -> None:
    """Print them."""
    table = Table(title="Landloom, measured", title_justify="left")
    for column, justify in (
        ("figure", "left"),
        ("measured", "right"),
        ("goal", "right"),
        ("met", "left"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for figure in figures:
        table.add_row(figure.name, figure.shown, figure.goal, figure.met, figure.note)
    Console(width=160).print(table)
