"""What moves the price, the direction and the range: as sums, and as tables for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptosentinel.bundle import BLEND
from cryptosentinel.explaining.records import DIRECTION_TARGET, FORECAST, SPREAD_TARGET, Explanation
from cryptosentinel.explaining.words import DESCRIPTIONS, digits

if TYPE_CHECKING:
    from rich.table import Table

Subject = Literal["price", "direction", "range"]
# What a linear model is of, and how its weights are shown.
_LOCAL = {"log_return": ("blend's return, in bp,", 1e4), "probability": ("P of a rise, in points,", 100.0)}


class ContributionSum(NamedTuple):
    """Numbers that add up, and how they are shown: `figure` writes one, `more` and `less` say what it does.

    Attributes:
        title: what of, and in what.
        base: the answer without the row.
        contributions: of each feature, the largest in size first.
        total: what they add up to, in words.
    """

    title: str
    base: float
    contributions: dict[str, float]
    total: str
    figure: Callable[[float], str]
    more: str
    less: str


def contribution_tables(explanation: Explanation, top: int = 8) -> list[Table]:
    """The SHAP contributions to the price, the direction and the range, each so that its rows add up to its last.

    Where the forecast is that the price stays, the blend stands in for it, and the title says that it is not served. A
    range's rows multiply.

    Args:
        explanation: of a row.
        top: how many contributions to name; the others are one row.
    """
    return [_table(subject, each, explanation, top) for subject, each in contribution_sums(explanation).items()]


def contribution_sums(explanation: Explanation) -> dict[Subject, ContributionSum]:
    """What there is to take apart, the price in the quote currency; otherwise as `contribution_tables`."""
    found: dict[Subject, ContributionSum | None] = {
        "price": _price(explanation),
        "direction": _direction(explanation),
        "range": _range(explanation),
    }
    return {subject: each for subject, each in found.items() if each is not None}


def local_tables(explanation: Explanation, top: int = 8) -> list[Table]:
    """The LIME weights: what one standard deviation more of a feature would change; none where LIME found nothing."""
    tables = []
    for model in (explanation.lime or {}).values():
        what, unit = _LOCAL[model.unit]
        title = f"LIME: {what} for one standard deviation more (R2 {model.r_squared:.2f})"
        weights = [(name, weight * unit) for name, weight in model.weights.items() if weight][:top]
        rows = [
            (f"{weight:+.3f}", "up" if weight > 0 else "down", name, explanation.features[name])
            for name, weight in weights
        ]
        if rows:
            tables.append(_grid(title, rows))
    return tables


def _price(explanation: Explanation) -> ContributionSum | None:
    served = explanation.targets[FORECAST]
    stays = not any(served.contributions.values())
    chosen = explanation.targets.get(BLEND) if stays else served
    if chosen is None or chosen.price_base is None or not chosen.price_contributions:
        return None
    places, currency = digits(explanation), explanation.currency.upper()
    what = "What the models say of the price (blend, not served)" if stays else "Price forecast"
    change = chosen.price_base + sum(chosen.price_contributions.values())
    return ContributionSum(
        f"{what}, in {currency}",
        chosen.price_base,
        chosen.price_contributions,
        f"to {explanation.close + change:,.{places}f} from {explanation.close:,.{places}f}",
        lambda each: f"{each:+,.{places}f}",
        "up",
        "down",
    )


def _direction(explanation: Explanation) -> ContributionSum | None:
    margin = explanation.targets[DIRECTION_TARGET]
    if not any(margin.contributions.values()):
        return None
    return ContributionSum(
        "Direction, in log-odds of a rise",
        margin.base,
        margin.contributions,
        f"a rise is {explanation.p_up:.1%} likely, once calibrated",
        lambda each: f"{each:+.4f}",
        "up",
        "down",
    )


def _range(explanation: Explanation) -> ContributionSum | None:
    spread = explanation.targets.get(SPREAD_TARGET)
    if spread is None:
        return None
    widened = f", widened x{explanation.widening:.2f}" if explanation.widening != 1 else ""
    return ContributionSum(
        "Range, as factors of the volatility",
        spread.base,
        spread.contributions,
        f"{math.exp(spread.value):.3%} standard deviation{widened}",
        lambda each: f"x{math.exp(each):.3f}",
        "wider",
        "narrower",
    )


def _table(subject: Subject, shown: ContributionSum, explanation: Explanation, top: int) -> Table:
    named = [(name, each) for name, each in shown.contributions.items() if each][:top]
    rest = sum(shown.contributions.values()) - sum(each for _, each in named)
    others = len(shown.contributions) - len(named)
    # What a base of volatility multiplies is 1.
    multiplied = subject == "range"
    base = f"{math.exp(shown.base):.3%}" if multiplied else shown.figure(shown.base)
    total = shown.base + sum(shown.contributions.values())
    rows: list[tuple[str, str, str, float | None]] = [(base, "", "without this row", None)]
    rows += [
        (shown.figure(each), shown.more if each > 0 else shown.less, name, explanation.features[name])
        for name, each in named
    ]
    if others:
        rows.append((shown.figure(rest), "", f"{others} other features", None))
    last = "" if multiplied else shown.figure(total)
    return _grid(shown.title, [*rows, (last, "", shown.total, None)])


def _grid(title: str, rows: Iterable[tuple[str, str, str, float | None]]) -> Table:
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=False,
        min_width=len(title),
    )
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for figure, way, name, value in rows:
        table.add_row(figure, way, DESCRIPTIONS.get(name, name), "" if value is None else f"{value:.4g}")
    return table
