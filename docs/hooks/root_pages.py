"""Files at the root of the repository as pages of the site, with links that hold there, too."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP = Path(__file__).parents[2]
DOCS = "docs"
PAGES = {  # file at the root: page of the site
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security-policy.md",
}
_FILES = {page: file for file, page in PAGES.items()}
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for file, page in PAGES.items():
        files.append(File.generated(config, page, content=(TOP / file).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that hold in the repository into links that hold on the site."""
    uri = page.file.src_uri
    file = _FILES.get(uri, f"{DOCS}/{uri}")

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), match["path"]))
        if target in PAGES:
            site = PAGES[target]
        elif target.startswith(f"{DOCS}/"):
            site = target.removeprefix(f"{DOCS}/")
        elif (TOP / target).exists() and not match["image"]:
            return match["text"]  # in the repository only
        else:
            return match[0]  # mkdocs reports it
        relative = posixpath.relpath(site, posixpath.dirname(uri) or ".")
        return f"{match['image']}[{match['text']}]({relative}{match['anchor'] or ''})"

    return _LINK.sub(link, markdown)
