"""Which curvature do I want: three questions about the network and what is wanted of it."""

from __future__ import annotations

from .canvas import BLUE, GREEN, ORANGE, PINK, Canvas, lines_of

TITLE = "Which curvature do I want?"

QUESTIONS = (
    (
        "Is a proven gap for the whole network at once what you are after, as in the CBS and CHITA papers?",
        "fisher",
        "needs labels; all weights in one problem; bound on the whole network",
        ORANGE,
    ),
    (
        "Do you have labels and some minutes, want accuracy over several stages, and need no bound?",
        "gauss-newton",
        "needs labels; no bound",
        PINK,
    ),
    (
        "Does the network call a layer twice, or shall each layer be a problem by itself?",
        "gram",
        "no labels; each layer's inputs in the dense network; bounds summed over layers",
        GREEN,
    ),
)
REST = (
    "sequential",
    "the default: no labels, one pass, later layers repair what earlier ones did; a bound for each layer",
    BLUE,
)


def draw(width: float) -> str:
    """The picture at ``width``."""
    canvas, small, size, pad = Canvas(width, TITLE), width < 500, 13, 10
    ask = width if small else 0.5 * width
    y, down = 2.0, 22.0
    for question, name, words, colour in QUESTIONS:
        height = lines_of(question, ask - 2 * pad, size) + 2 * pad
        canvas.box(0, y, ask, height)
        canvas.paragraph(pad, y + pad - 2, ask - 2 * pad, question, size=size)
        if small:
            canvas.line((30, y + height), (30, y + height + 20))
            canvas.text(38, y + height + 15, "yes", size=size, look="soft")
            end = _answer(canvas, 18, y + height + 20, width - 18, name, words, colour)
            canvas.line((6, y + height), (6, end + down))
        else:
            middle = y + height / 2
            canvas.line((ask, middle), (ask + 46, middle))
            canvas.text(ask + 22, middle - 5, "yes", size=size, look="soft", anchor="middle")
            end = max(_answer(canvas, ask + 46, y, width - ask - 46, name, words, colour), y + height)
            canvas.line((30, y + height), (30, end + down))
        canvas.text(12 if small else 38, end + 15, "no", size=size, look="soft")
        y = end + down
    name, words, colour = REST
    _answer(canvas, 0, y, ask, name, words, colour)
    return canvas.svg()


def _answer(canvas: Canvas, x: float, y: float, width: float, name: str, words: str, colour: str) -> float:
    """Draw a curvature with what comes with it; returns where that ends."""
    height = 30 + lines_of(words, width - 24, 12) + 8
    canvas.box(x, y, width, height)
    canvas.add(f'<rect x="{x:g}" y="{y:g}" width="6" height="{height:g}" rx="3" fill="{colour}"/>', y + height)
    canvas.text(x + 16, y + 21, name, size=14, look="bold code")
    canvas.paragraph(x + 16, y + 27, width - 24, words, size=12, look="soft")
    return y + height
