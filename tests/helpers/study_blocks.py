"""Three tiny blocks for studies, one with an awkward name, and a study's page as tags and text."""

from html.parser import HTMLParser

import numpy as np

from cbs_opt.kernel.problem import PruningProblem

METHODS = ["magnitude", "obd", "bnb"]
INJECTED = "<script>alert(1)</script>$x$&"


def block(seed, n=6, name=""):
    rng = np.random.default_rng(seed)
    return PruningProblem.from_gradients(rng.normal(size=n), rng.normal(size=(20, n)), damping=0.1, name=name)


def make_blocks(target):
    target.mkdir()
    for seed in range(3):
        block(seed, name=INJECTED if seed == 1 else f"block {seed}").save(target / f"b{seed}.npz")
    return target


class Page(HTMLParser):
    """Counts tags and gathers text and outside references."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.references = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")]

    def handle_data(self, data):
        self.text.append(data)


def read_page(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page
