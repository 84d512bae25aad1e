"""A person in the console: logs in and presses buttons, over HTTP like anyone else."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import requests

from billing_worker.demo.place import DemoError


class ConsoleSession:
    """One logged-in person."""

    def __init__(self, *, base_url: str, username: str, password: str) -> None:
        self.base_url = base_url
        self.username = username
        self.http = requests.Session()
        login = urljoin(base_url, "/admin/login/")
        self.get("/admin/login/")
        answer = self.http.post(
            login,
            data={
                "username": username,
                "password": password,
                "next": "/admin/",
                "csrfmiddlewaretoken": self.http.cookies["csrftoken"],
            },
            headers={"Referer": login},
            timeout=120,
        )
        if "sessionid" not in self.http.cookies or answer.status_code != 200:
            raise DemoError(f"{username} can't log in to the console (status {answer.status_code})")

    def get(self, path: str) -> str:
        """A page's HTML.

        Raises:
            DemoError: the page answers with an error.
        """
        answer = self.http.get(urljoin(self.base_url, path), timeout=120)
        if not answer.ok:
            raise DemoError(f"{path} answers {answer.status_code} to {self.username}")
        return answer.text

    def find_cohort_path(self, name: str) -> str:
        """The address of a cohort's page, found through the list of cohorts."""
        page = self.get("/admin/cohorts/cohort/")
        match = re.search(
            rf'href="(/admin/cohorts/cohort/\d+/change/)[^"]*"[^>]*>\s*{re.escape(name)}\s*<', page
        )
        if match is None:
            raise DemoError(f"the console's list of cohorts does not show {name}")
        return match[1]

    def press(self, page_path: str, button_path: str, fields: dict[str, str]) -> str:
        """Post a form of a page; the HTML of where it leads."""
        page = urljoin(self.base_url, page_path)
        answer = self.http.post(
            urljoin(self.base_url, button_path),
            data={**fields, "csrfmiddlewaretoken": self.http.cookies["csrftoken"]},
            headers={"Referer": page},
            timeout=120,
        )
        if not answer.ok:
            raise DemoError(f"{button_path} answers {answer.status_code} to {self.username}")
        return answer.text
