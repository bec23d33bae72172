"""The page of `local` in headless Chromium: what a person sees and does, and what an attacker cannot."""

import http.server
import json
import os
import re
import threading
import unittest
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from pipeline import Pipeline

EVENTS_IN_SAMPLE = 350
expect.set_options(timeout=30_000)

# How every text and its ground differ in luminance, by WCAG 2.2; disabled controls are exempt there too.
CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255);
  };
  const luminance = ([red, green, blue]) => [red, green, blue]
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return rgba('Canvas');
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest('script, noscript, :disabled')) continue;
    const style = getComputedStyle(node);
    const text = luminance(rgba(node instanceof SVGElement ? style.fill : style.color));
    const under = luminance(ground(node));
    const contrast = (Math.max(text, under) + 0.05) / (Math.min(text, under) + 0.05);
    found.push({ text: walker.currentNode.data.trim().slice(0, 40), contrast });
  }
  return found;
}"""


class Browser(unittest.TestCase):
    """One browser for all tests of a class, one page a test; a page that complains fails its test."""

    @classmethod
    def setUpClass(cls):
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        cls.browser = cls.playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=sandbox)
        cls.addClassCleanup(cls.browser.close)

    def open(self, url, expected_complaint=None, **context):
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.addCleanup(context.close)
        page = context.new_page()
        complaints, strangers = [], []
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(url) else strangers.append(asked.url))

        def quiet():
            unexpected = [text for text in complaints if not expected_complaint or not re.search(expected_complaint, text)]
            self.assertEqual(unexpected, [], "the page complains")
            self.assertEqual(strangers, [], "the page asks somebody else")

        self.addCleanup(quiet)
        page.goto(url)
        return page

    def picture(self, page, name):
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)

    def assert_legible(self, page):
        texts = page.evaluate(CONTRASTS)
        self.assertGreater(len(texts), 50)
        faint = [f"{text['contrast']:.2f} {text['text']}" for text in texts if text["contrast"] < 4.5]
        self.assertEqual(faint, [])


class SampleTest(Browser):
    """Right after the sample was sent."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pipeline = Pipeline("--sample")
        cls.addClassCleanup(cls.pipeline.stop)

    def test_the_sample_shows_in_numbers_lines_and_objects(self):
        page = self.open(self.pipeline.url)
        self.pipeline.printed("350 of 350 sample events")
        expect(page.locator("#events .figure b")).to_have_text("350")
        expect(page.locator("#hoard .figure b")).to_have_text("350")
        for service in ("events", "hoard", "syncomatic"):
            expect(page.locator(f"#{service} .state")).to_have_text("ready")
        rows = page.locator("#types tr")
        expect(rows).to_have_count(7)
        by_type = [int(cell) for cell in rows.locator("td:nth-child(2)").all_inner_texts()]
        self.assertEqual(sum(by_type), EVENTS_IN_SAMPLE)
        self.assertNotIn(0, by_type, "every type was in the sample")

        # Seven types in one second or several, and objects that were stored and copied.
        expect(page.locator("#rates rect").nth(6)).to_be_attached()
        expect(page.locator("#freshness circle").first).to_be_attached()
        expect(page.locator("#replication circle").first).to_be_attached()
        expect(page.locator("#freshness-now")).to_have_text(re.compile(r"^last [\d.]+ (ms|s)$"))
        objects = page.locator("#landed tr")
        expect(objects.filter(has_text="on its way")).to_have_count(0)
        self.assertEqual(objects.filter(has_text="equal").count(), objects.count())
        in_objects = [int(cell) for cell in objects.locator("td:nth-child(2)").all_inner_texts()]
        self.assertEqual(sum(in_objects), EVENTS_IN_SAMPLE)
        self.assert_legible(page)
        self.picture(page, "light")


class PageTest(Browser):
    """With the sample sent and arrived."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pipeline = Pipeline("--sample")
        cls.addClassCleanup(cls.pipeline.stop)
        cls.pipeline.printed("350 of 350 sample events")
        cls.pipeline.printed("europe .*equal by checksum")

    def live(self, **context):
        page = self.open(self.pipeline.url, **context)
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        return page

    def send(self, page, event):
        # The form is ready when its types have come.
        body = page.get_by_label("Event, as JSON")
        expect(body).not_to_have_value("")
        body.fill(event if isinstance(event, str) else json.dumps(event))
        page.get_by_role("button", name="Send", exact=True).click()

    def accepted(self):
        return self.pipeline.metric(self.pipeline.events_metrics, "events_published_total")

    def test_a_good_event_is_accepted_and_followed_to_europe(self):
        page = self.live()
        expect(page.get_by_label("Event type")).to_have_value("play")
        page.get_by_label("Event type").select_option("navigation")
        expect(page.get_by_label("Event, as JSON")).to_have_value(re.compile('"eventtype": "navigation"'))
        page.get_by_role("button", name="Send", exact=True).click()
        verdict = page.get_by_label("Verdict")
        expect(verdict).to_contain_text("Accepted")
        expect(verdict).to_contain_text("It is in Kinesis.")
        expect(verdict).to_contain_text(re.compile(r"in Europe after [\d.]+ (ms|s)"))
        eventid = re.search(r"eventid ([0-9a-f-]{36})", verdict.inner_text()).group(1)
        self.picture(page, "accepted")

        page.get_by_role("button", name="Look at it in its object").click()
        inside = page.get_by_role("dialog")
        expect(inside.get_by_role("button", name="Europe")).to_have_attribute("aria-pressed", "true")
        expect(inside.locator(".lines")).to_contain_text(eventid)
        page.keyboard.press("Escape")
        expect(inside).to_be_hidden()
        expect(page.get_by_role("button", name="Look at it in its object")).to_be_focused()

    def test_a_bad_event_is_rejected_with_the_field_and_why(self):
        page = self.live()
        expect(page.get_by_label("Event type")).to_have_value("play")
        page.get_by_label("Example").select_option(index=1)
        page.get_by_role("button", name="Put a mistake in").click()
        expect(page.get_by_label("Event, as JSON")).to_have_value(re.compile('"secondslistened": "many"'))
        page.get_by_role("button", name="Send", exact=True).click()
        verdict = page.get_by_label("Verdict")
        expect(verdict).to_contain_text("Rejected")
        expect(verdict).to_contain_text("Answered 422")
        errors = verdict.get_by_role("listitem")
        expect(errors).to_have_count(1)
        expect(errors).to_contain_text("/secondslistened")
        expect(errors).to_contain_text("must be of type number")
        expect(page.locator("#reasons")).to_contain_text("invalid")
        self.assertGreaterEqual(page.locator("#rates rect.c-rejected").count(), 1)
        self.assert_legible(page)
        self.picture(page, "rejected")

    def test_what_is_not_json_and_what_is_forbidden_are_explained(self):
        page = self.live()
        self.send(page, '{"eventtype": "play",')
        verdict = page.get_by_label("Verdict")
        expect(verdict).to_contain_text("Answered 400")
        page.get_by_label("Sent by").select_option("northwind-speaker")
        self.send(page, {"eventtype": "voicefeedback"})
        expect(verdict).to_contain_text("Answered 403")
        expect(verdict).to_contain_text("forbidden")

    def test_a_check_publishes_nothing(self):
        page = self.live()
        expect(page.get_by_label("Event type")).to_have_value("play")
        before = self.accepted()
        page.get_by_role("button", name="Only check").click()
        verdict = page.get_by_label("Verdict")
        expect(verdict).to_contain_text("It would be accepted")
        expect(verdict).to_contain_text("Nothing was published.")
        self.assertEqual(self.accepted(), before)

    def test_markup_in_an_event_stays_text(self):
        page = self.live(expected_complaint="TrustedHTML")
        markup = "<script>window.run = 1</script><img src=x onerror='window.run = 2'>"
        self.send(page, {"eventtype": "play", "action": "play", "musicsource": "tidal", "track": markup})
        verdict = page.get_by_label("Verdict")
        expect(verdict).to_contain_text("in Europe after")
        page.get_by_role("button", name="Look at it in its object").click()
        inside = page.get_by_role("dialog")
        expect(inside.locator(".lines")).to_contain_text(markup)
        self.picture(page, "markup")
        page.keyboard.press("Escape")
        self.send(page, {"eventtype": "<img src=x onerror='window.run = 3'>", "<b>x</b>": 1})
        expect(verdict).to_contain_text("Rejected")
        self.assertEqual(page.locator("img, main script, #inside script, b b").count(), 0)
        self.assertIsNone(page.evaluate("window.run ?? null"))
        # And should a mistake of the page's own put markup in, the browser refuses it.
        refused = page.evaluate("() => { try { document.body.innerHTML = '<i>'; } catch (error) { return error.name; } }")
        self.assertEqual(refused, "TypeError")

    def test_an_object_is_looked_into_on_both_sides(self):
        page = self.live()
        first = page.locator("#landed button").last
        key = first.get_attribute("title")
        first.click()
        inside = page.get_by_role("dialog")
        expect(inside.locator(".key")).to_have_text(f"s3://events-china/{key}")
        expect(inside.locator(".lines li").first).to_contain_text('"eventid":')
        lines = inside.locator(".lines").inner_text()
        expect(inside).to_contain_text("uncompressed-crc64nvme")
        self.assert_legible(page)
        self.picture(page, "inside")
        inside.get_by_role("button", name="Europe").click()
        expect(inside.locator(".key")).to_have_text(f"s3://events-china-in-europe/{key}")
        self.assertEqual(inside.locator(".lines").inner_text(), lines)
        inside.get_by_role("button", name="Close").click()
        expect(inside).to_be_hidden()
        expect(first).to_be_focused()

    def test_keys_alone_reach_everything(self):
        page = self.live()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to sending an event")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Event type")).to_be_focused()
        chart = page.get_by_role("slider", name="Events per second")
        chart.focus()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#rates .readout")).to_be_visible()
        self.assertRegex(chart.get_attribute("aria-valuetext"), r"^\d\d:\d\d:\d\d: \w+ [\d,.]+")
        self.picture(page, "readout")
        page.keyboard.press("Escape")
        expect(page.locator("#rates .readout")).to_be_hidden()
        unnamed = page.evaluate("""() => [...document.querySelectorAll('button, select, textarea, [tabindex="0"]')]
          .filter((node) => !(node.labels?.length || node.ariaLabel || node.textContent.trim())).map((node) => node.outerHTML)""")
        self.assertEqual(unnamed, [])

    def test_dark(self):
        page = self.live(color_scheme="dark")
        page.get_by_role("button", name="Put a mistake in").click()
        page.get_by_role("button", name="Send", exact=True).click()
        expect(page.get_by_label("Verdict")).to_contain_text("Rejected")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        self.assertTrue(all(int(part) < 60 for part in re.findall(r"\d+", dark)), dark)
        self.assert_legible(page)
        self.picture(page, "dark")
        page.locator("#landed button").first.click()
        expect(page.locator("#inside .lines li").first).to_be_visible()
        self.assert_legible(page)
        self.picture(page, "dark-inside")

    def test_phone(self):
        page = self.live(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
        expect(page.locator("#landed tr").first).to_be_visible()
        self.assertEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        page.get_by_role("button", name="Only check").tap()
        expect(page.get_by_label("Verdict")).to_contain_text("It would be accepted")
        self.picture(page, "phone")
        page.locator("#landed button").first.tap()
        expect(page.locator("#inside .lines li").first).to_be_visible()
        self.assertEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        self.picture(page, "phone-inside")

    def test_nothing_moves_for_those_who_want_it_still(self):
        page = self.live(reduced_motion="reduce")
        self.send(page, {"eventtype": "play", "action": "play", "musicsource": "tidal"})
        expect(page.locator("#landed .fresh").first).to_be_visible()
        moving = page.evaluate("document.getAnimations().length")
        self.assertEqual(moving, 0)

    def test_a_service_in_trouble_and_an_error_are_told(self):
        page = self.live(expected_complaint="503")

        def in_trouble(route):
            live = route.fetch().json()
            live["services"][1].update(state="not_ready", because=["stream: <b>no such stream</b>"])
            live["services"][2].update(state="no_answer", because=["it does not answer"])
            route.fulfill(json=live)

        page.route("**/page/live*", in_trouble)
        expect(page.locator("#hoard .state")).to_have_text("not ready: stream: <b>no such stream</b>")
        expect(page.locator("#syncomatic .state")).to_have_text("no answer: it does not answer")
        self.assert_legible(page)
        self.picture(page, "in-trouble")
        page.unroute_all(behavior="wait")
        page.route("**/page/live*", lambda route: route.fulfill(status=503, json={"error": "too many requests at once"}))
        expect(page.get_by_role("alert")).to_contain_text("too many requests at once")
        expect(page.locator("#link")).to_have_text("In trouble")
        page.unroute_all(behavior="wait")
        expect(page.locator("#link")).to_have_text("Live")
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_other_pages_can_neither_read_nor_send(self):
        class Elsewhere(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><link rel=icon href=data:,><title>Elsewhere</title>")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        context = self.browser.new_context()
        self.addCleanup(context.close)
        page = context.new_page()
        page.goto(f"http://localhost:{server.server_port}/")
        before = self.accepted()
        ask = """async ([url, options]) => {
          try { const answer = await fetch(url, options); return [answer.type, answer.status]; } catch (error) { return [error.name, 0]; }
        }"""
        wish = json.dumps({"client": "northwind-platform", "body": '{"eventtype":"play","action":"play","musicsource":"tidal"}'})
        live, send = f"{self.pipeline.url}page/live", f"{self.pipeline.url}page/send"
        for url, options in [
            (live, {}),
            (live, {"mode": "no-cors"}),
            (send, {"method": "POST", "body": wish, "headers": {"content-type": "application/json"}}),
            (send, {"method": "POST", "body": wish, "mode": "no-cors"}),
        ]:
            self.assertEqual(page.evaluate(ask, [url, options]), ["TypeError", 0], (url, options))
        self.assertEqual(self.accepted(), before)
        refused = self.pipeline.metric(f"{self.pipeline.url}metrics", "local_page_refused_requests_total")
        self.assertGreaterEqual(refused, 3)


class StatesTest(Browser):
    """Before there is anything to see, and after it is gone."""

    def test_empty_then_gone_then_back(self):
        with Pipeline() as first:
            page = self.open(first.url, expected_complaint="ERR_CONNECTION|Failed to load|ERR_EMPTY")
            expect(page.locator("#link")).to_have_text("Live")
            for text in ("No event in the last three minutes.", "No object yet.", "nothing so far"):
                expect(page.get_by_text(text).first).to_be_visible()
            expect(page.locator("#types tr")).to_have_count(7)
            self.assert_legible(page)
            self.picture(page, "empty")
            admin = re.sub(r"^http://|/$", "", first.url)
            expect(page.get_by_label("Event type")).to_have_value("play")
            page.get_by_role("button", name="Send", exact=True).click()
            expect(page.get_by_label("Verdict")).to_contain_text("in Europe after")
            expect(page.locator("#landed tr")).to_have_count(1)
            expect(page.locator("#events .figure b")).to_have_text("1")

        expect(page.locator("#link")).to_have_text("Not connected")
        expect(page.get_by_role("alert")).to_contain_text("This page goes on by itself when it is back.")
        expect(page.locator("#events .state")).to_have_text("not known now")
        expect(page.locator("#landed tr")).to_have_count(1)
        self.assert_legible(page)
        self.picture(page, "gone")
        page.get_by_role("button", name="Only check").click()
        expect(page.get_by_label("Verdict")).to_contain_text("the pipeline does not answer")

        with Pipeline(admin=admin):
            expect(page.locator("#link")).to_have_text("Live")
            expect(page.get_by_role("alert")).to_be_hidden()
            expect(page.locator("#events .figure b")).to_have_text("0")
            expect(page.get_by_text("No event in the last three minutes.")).to_be_visible()
            expect(page.locator("#landed tr")).to_have_count(0)

    def test_a_pipeline_that_hangs_is_told(self):
        with Pipeline() as pipeline:
            page = self.open(pipeline.url)
            expect(page.locator("#link")).to_have_text("Live")
            pipeline.pause()
            expect(page.locator("#link")).to_have_text("Not connected")
            pipeline.resume()
            expect(page.locator("#link")).to_have_text("Live")


if __name__ == "__main__":
    unittest.main()
