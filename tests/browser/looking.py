"""A window on the dashboard, as somebody uses it."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page

from tests.browser.screenshots import settle

PATIENCE_MS = 120_000
# Streamlit's own, about itself.
_KNOWN = ("Unrecognized feature:", "will-change", "An iframe which has both allow-scripts")


class Looking:
    """A browser window.

    Attributes:
        page: of it.
        complaints: errors on the console, and exceptions that nobody caught.
    """

    def __init__(self, context: BrowserContext, url: str, path: str = "") -> None:
        self.url = url
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url)
        settle(self.page)
        if path:
            self.open(path)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(known in message.text for known in _KNOWN):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def open(self, path: str) -> None:
        """Goes to a page by the navigation, as somebody with a mouse does."""
        self.link(path).click()
        self.page.wait_for_url(lambda url: url.partition("?")[0].rstrip("/") == f"{self.url}/{path}".rstrip("/"))
        settle(self.page)

    def link(self, path: str) -> Locator:
        """The navigation's link to a page; the menu that it is in is opened."""
        end = f"/{path}" if path else f"{self.url.rpartition(':')[2]}/"
        link = self.page.locator(f'a[href$="{end}"]').first
        for section in self.page.get_by_test_id("stTopNavSection").all():
            if link.is_visible():
                break
            section.click()
            self.page.wait_for_timeout(400)
        return link
