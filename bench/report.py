"""From the figures of all repetitions to one table and one JSON file."""

import statistics

RATIO_MARK = "–"


def summary(runs):
    """What the repetitions of one figure say together.

    Times and rates are medians. What was delivered is that of the worst repetition: a median would hide a loss."""
    good = [run for run in runs if "error" not in run]
    if not good:
        return {"error": runs[0]["error"], "runs": runs}
    worst = min(good, key=lambda run: run["delivered"] / max(1, run["sent"]))
    result = {"delivered": worst["delivered"], "sent": worst["sent"]}
    for key in ("p50_us", "p99_us", "rate_hz"):
        values = [run[key] for run in good if run.get(key) is not None]
        result[key] = round(statistics.median(values), 1) if values else None
    for key in ("duplicates", "disordered", "broken"):
        result[key] = max(run[key] for run in good)
    failed = len(runs) - len(good)
    if failed:
        result["failed_runs"] = failed
    return {**result, "runs": runs}


def table(rows, systems):
    """The whole as text. `rows`: (row, {key of a system: its summary}) in order."""
    head = ["row", "way", "delivered", "p50", "p99", "rate"]
    others = [system for system in systems if system.key != "switchboard"]
    compared = len(others) < len(systems)
    if compared:
        head += [f"p50 p99 : {other.title}" for other in others]
    lines = [head]
    for row, figures in rows:
        for index, system in enumerate(systems):
            figure = figures[system.key]
            line = [row.name if index == 0 else "", system.title, *cells(figure)]
            if compared and system.key == "switchboard":
                line += [ratios(row, figure, figures[other.key]) for other in others]
            lines.append(line)
    return align(lines)


def cells(figure):
    if "error" in figure:
        return ["failed", "", "", ""]
    marks = "".join(
        f", {figure[key]} {word}" for key, word in (("duplicates", "twice"), ("broken", "broken")) if figure[key]
    )
    if figure.get("failed_runs"):
        marks += f", {figure['failed_runs']} runs failed"
    rate = figure["rate_hz"]
    return [
        f"{figure['delivered']} of {figure['sent']}{marks}",
        microseconds(figure["p50_us"]),
        microseconds(figure["p99_us"]),
        RATIO_MARK if rate is None else f"{rate:,.1f} Hz" if rate < 1_000 else f"{rate:,.0f} Hz",
    ]


def ratios(row, ours, theirs):
    """Ours as a multiple of theirs: of the times, and in a flood, where a message waits as long as the queues are deep,
    of the rate."""
    if row.is_flood:
        ratio = quotient(ours.get("rate_hz"), theirs.get("rate_hz"))
        return RATIO_MARK if ratio is None else f"rate {ratio:.2f}"
    both = [quotient(ours.get(key), theirs.get(key)) for key in ("p50_us", "p99_us")]
    return " ".join(RATIO_MARK if ratio is None else f"{ratio:.2f}" for ratio in both)


def quotient(ours, theirs):
    return None if not ours or not theirs else ours / theirs


def microseconds(value):
    if value is None:
        return RATIO_MARK
    return f"{value:.0f} µs" if value < 10_000 else f"{value / 1_000:.1f} ms"


def align(lines):
    """Columns as wide as their widest cell: the first two to the left, the others to the right."""
    width = max(len(line) for line in lines)
    lines = [line + [""] * (width - len(line)) for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(width)]
    text = []
    for line in lines:
        parts = [
            cell.ljust(widths[column]) if column < 2 else cell.rjust(widths[column]) for column, cell in enumerate(line)
        ]
        text.append("  ".join(parts).rstrip())
    return "\n".join(text)


def as_json(rows, repetitions):
    return {"repetitions": repetitions, "rows": [{"name": row.name, **figures} for row, figures in rows]}
