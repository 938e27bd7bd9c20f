"""Which command do I want: from what one has and what one wants to the command."""

from __future__ import annotations

from .canvas import BLUE, GREEN, PURPLE, Canvas, lines_of

TITLE = "Which command do I want?"

CHOICES = (
    (
        "I have nothing yet",
        PURPLE,
        (
            ("see heuristics beside proven optima, on a network that comes with the package", "study"),
            ("see what can run here, and its options", "methods"),
            ("blocks with proven optima, to try a solver on", "instances"),
            ("compile everything once, before you need it", "warmup"),
        ),
    ),
    (
        "I have a network",
        BLUE,
        (
            ("zeros where they hurt least, the other weights re-tuned", "prune"),
            ("whole filters, neurons or heads gone: a smaller network", "shrink"),
            ("how good is a mask that another tool made?", "certify NETWORK"),
            ("how far are heuristics from the optimum on my layers?", "study --network"),
            ("many blocks to solve, on a cluster perhaps", "extract"),
        ),
    ),
    (
        "I have block files",
        GREEN,
        (
            ("the best mask of one block, with a proof", "solve"),
            ("several methods side by side, or what a pattern costs", "compare"),
            ("how good is a mask that I have?", "certify BLOCK"),
            ("a model file for another solver", "export"),
            ("many blocks and methods, in parallel", "batch"),
            ("what came out of a batch, on one page", "report"),
            ("solved blocks back into the network", "assemble"),
        ),
    ),
)


def draw(width: float) -> str:
    """The picture at ``width``."""
    canvas, small, size = Canvas(width, TITLE), width < 500, 13
    have = 0.0 if small else 150.0
    chip = 150.0
    y = 2.0
    for title, colour, wishes in CHOICES:
        if small:
            canvas.box(0, y, width, 28, colour)
            canvas.text(12, y + 19, title, size=size, look="bold on")
            y += 36
        first = y
        for wish, command in wishes:
            room = width - have - chip - (34 if small else 64)
            left = 12.0 if small else have + 34
            height = max(lines_of(wish, room, size), 26)
            text_height = lines_of(wish, room, size)
            canvas.paragraph(left, y + (height - text_height) / 2, room, wish, size=size)
            middle = y + height / 2
            canvas.box(width - chip, middle - 13, chip, 26)
            canvas.text(width - chip + 10, middle + 4.5, command, size=size - 0.5, look="code")
            if small:
                canvas.line((0, middle), (7, middle))
            else:
                canvas.line((have + 14, middle), (have + 28, middle))
            last, y = middle, y + height + (8 if small else 10)
        if small:
            canvas.line((0, first - 8), (0, last))
        else:
            middle_of_all = (first + y - 10) / 2
            canvas.line((have + 14, first + 13), (have + 14, last))
            canvas.line((have, middle_of_all), (have + 14, middle_of_all))
            canvas.box(0, middle_of_all - 20, have, 40, colour)
            canvas.text(have / 2, middle_of_all + 4.5, title, size=size, look="bold on", anchor="middle")
        y += 12
    return canvas.svg()
