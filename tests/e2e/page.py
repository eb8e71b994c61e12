# SPDX-License-Identifier: Apache-2.0
"""Drives the page in headless Chromium, as a person without a mouse would. Arguments: its address, the image that is
held, a reference to prefetch, a folder for pictures."""
import sys

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ADDRESS, HELD, WANTED, PICTURES = sys.argv[1:5]


def browser():
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,1400"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


class Page:
    def __init__(self):
        self.driver = browser()

    def open(self):
        self.driver.get(ADDRESS)
        self.until(lambda: "following" in self.text("link"), "the page does not follow")

    def until(self, condition, complaint):
        WebDriverWait(self.driver, 30, 0.05).until(lambda _: condition(), complaint)

    def text(self, name):
        return self.driver.find_element(By.ID, name).text

    def press(self, label):
        """Presses a button by the keyboard alone."""
        button = self.driver.find_element(By.CSS_SELECTOR, f'button[aria-label="{label}"]')
        button.send_keys(Keys.ENTER)

    def files(self, name):
        """The buttons of a file or folder with this name."""
        return self.driver.execute_script("""return [...document.querySelectorAll(".files td button")].filter(
            (e) => e.textContent === arguments[0])""", name)

    def picture(self, name):
        self.driver.save_screenshot(f"{PICTURES}/{name}.png")

    def check_console(self):
        said = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        assert not said, said

    def check_reach(self):
        """All that can be pressed or filled in has a name, and can be reached by the tabulator."""
        nameless = self.driver.execute_script("""return [...document.querySelectorAll("button, input, select")].filter(
            (e) => e.offsetParent && (e.tabIndex < 0 || !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels.length)))
            .map((e) => e.outerHTML)""")
        assert not nameless, nameless


def check_held_image(page):
    page.until(lambda: HELD in page.text("image-rows"), "the image is not shown")
    page.press(f"Check {HELD}")
    page.until(lambda: "held:" in page.text("image-rows") or "missing" in page.text("image-rows"), "the check says nothing")
    page.press(f"Less {HELD}")
    page.press(f"Inside {HELD}")
    page.until(lambda: "linux/" in page.text("image-rows") and page.driver.find_elements(By.CSS_SELECTOR, "#image-rows td"),
               "its inside is not shown")
    assert "LARDER=e2e" in page.text("image-rows"), "its config is not shown"
    page.press(f"Files of {HELD}")
    for name in ("usr/", "share/", "doc/", "tar/", "copyright"):
        page.until(lambda: page.files(name), f"{name} is not shown")
        page.files(name)[0].send_keys(Keys.ENTER)
    page.until(lambda: "GNU" in page.text("image-rows"), "the text of a file is not shown")
    page.picture("text")
    page.files("..")[0].send_keys(Keys.ENTER)
    page.until(lambda: page.files("copyright"), "there is no way back from a file")


def pin_and_unpin(page):
    page.press(f"Pin {HELD}")
    prompt = WebDriverWait(page.driver, 10).until(lambda d: d.switch_to.alert)
    prompt.send_keys("kept")
    prompt.accept()
    page.until(lambda: "pin kept" in page.text("image-rows"), "the pin is not shown")
    page.press(f"Unpin {HELD}")
    page.until(lambda: "pin kept" not in page.text("image-rows"), "the pin is still shown")


def prefetch(page):
    field = page.driver.find_element(By.ID, "prefetch-images")
    field.send_keys("not//a reference")
    field.send_keys(Keys.ENTER)
    page.until(lambda: page.text("jobs-problem"), "a malformed reference is not refused")
    field.clear()
    field.send_keys(WANTED, Keys.ENTER)
    page.until(lambda: "done" in page.text("jobs"), "the job is not done: " + page.text("jobs"))
    page.until(lambda: WANTED in page.text("image-rows"), "what was fetched is not shown")


def check_looks(page):
    page.picture("light")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    ground = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in ground[4:-1].split(",")) < 200, "it is not dark: " + ground
    page.picture("dark")
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                {"width": 360, "height": 2200, "deviceScaleFactor": 1, "mobile": True})
    width = page.driver.execute_script("return document.documentElement.scrollWidth")
    assert width <= 360, f"{width} px wide at 360"
    page.picture("narrow")


def main():
    page = Page()
    try:
        page.open()
        check_held_image(page)
        pin_and_unpin(page)
        page.check_console()
        prefetch(page)
        page.driver.get_log("browser")  # the refused reference is a failed request, as it should be
        page.check_reach()
        check_looks(page)
        page.check_console()
    except Exception:
        page.picture("failed")
        raise
    finally:
        page.driver.quit()


main()
