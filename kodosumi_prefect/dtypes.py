"""Results that choose how they are shown, where Kodosumi services look for them, too."""

from kodosumi_prefect.response import HTML, Markdown, Text

__all__ = ["HTML", "Markdown", "Text"]
