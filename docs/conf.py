"""The documentation as a site: ``sphinx-build -nW --keep-going -c docs . build/site``, then open its ``index.html``.

The sources are the repository's own Markdown files where they stand, so that links mean the same here and on any page
that shows the files.
"""

from __future__ import annotations

from sphinx.application import Sphinx

from sanstream import __version__

project = "sanstream"
version = release = __version__
root_doc = "docs/index"
include_patterns = ["README.md", "docs/**.md", "sanstream/FORMAT.md", "sanstream/WIRE.md"]
exclude_patterns = [".*", "build", "dist", "work", "pipelines", "tests", "demo", "sanstream-demo", "**/__pycache__"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
highlight_language = "none"
smartquotes = False  # "--append" is no dash
autodoc_typehints = "none"  # the docstrings say more: shapes, units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = f"sanstream {version}"
html_show_copyright = False
html_copy_source = False

_CONTENTS = """

```{toctree}
:hidden:
:glob:
:caption: %s
%s
```
"""
_PARTS = {
    "Who are you?": "clinician operations engineer researcher",
    "For everybody": "../README privacy",
    "Reference": "reference/cli reference/ingest-toml reference/metrics reference/python ../sanstream/FORMAT "
    "../sanstream/WIRE",
    "How it does": "live workers faults capacity reencode queries evaluation banks measured/README",
    "Research": "encoders codes codes-beats paper paper-table2",
    "Tools of others": "readers chorus viewer",
    "Why it is so": "design/README design/0*",
}


def _add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page its contents here: in the file itself they would be noise to whoever reads it as it is."""
    if name == "docs/index":
        known = app.env.found_docs
        for caption, words in _PARTS.items():
            pages = [page for page in words.split() if "*" in page or _document(page) in known]
            source[0] += _CONTENTS % (caption, "\n".join(pages))


def _document(page: str) -> str:
    return page.removeprefix("../") if page.startswith("../") else f"docs/{page}"


def setup(app: Sphinx) -> None:
    """Join Sphinx."""
    app.connect("source-read", _add_contents)
