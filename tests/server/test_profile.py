"""GET /admin/profile: what it shows, that there is one at a time, and that serving goes on."""
import re
import threading
import unittest
import xml.etree.ElementTree as xml

import onnx_bytes as onnx
from daemon import Daemon

SIZE = 512
APP = """
local md = require "moondial"

local function simmer(seconds)
    local x, stop = 0, os.clock() + seconds
    while os.clock() < stop do
        for i = 1, 1000 do
            x = (x * 3 + i) % 1000003
        end
    end
    return x
end

local function stir(seconds)
    return (simmer(seconds))
end

return md.app {
    name = "kitchen", version = "1",
    models = { square = { path = "models/square.onnx" } },
    routes = {
        md.get("/hot", { key = false }, function() return { stir(0.2) } end),
        md.get("/kernel", { key = false }, function()
            local x = md.tensor.zeros { SIZE, SIZE }
            local outputs = assert(md.model("square"):predict { x = x })
            return { outputs.y:dim(1) }
        end),
        md.get("/nap", { key = false }, function() md.sleep(0.2) return {} end),
    },
}
""".replace("SIZE", str(SIZE))


def square():
    body = onnx.graph([onnx.node("MatMul", ["x", "W"], ["h"]),
                       onnx.node("MatMul", ["h", "W"], ["y"])],
                      [onnx.value("x", onnx.FLOAT, ["batch", SIZE])],
                      [onnx.value("y", onnx.FLOAT, ["batch", SIZE])],
                      [onnx.floats("W", [SIZE, SIZE], [0.5] * (SIZE * SIZE))])
    return onnx.model(body)


class Profile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon({"app.lua": APP, "models/.keep": ""})
        with open(cls.daemon.folder + "/models/square.onnx", "wb") as file:
            file.write(square())
        cls.daemon.start()
        cls.daemon.wait_ready()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()

    def profile_under_load(self, query):
        """The profile, taken while every route is asked again and again; all must answer."""
        ended, problems, served = threading.Event(), [], []

        def ask(path):
            while not ended.is_set():
                answer = self.daemon.get(path)
                served.append(path)
                if answer.status != 200:
                    problems.append((path, answer.status))

        threads = [threading.Thread(target=ask, args=(path,))
                   for path in ("/hot", "/kernel", "/nap")]
        for thread in threads:
            thread.start()
        answer = self.daemon.get("/admin/profile?" + query)
        ended.set()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        self.assertEqual(set(served), {"/hot", "/kernel", "/nap"})
        self.assertEqual(answer.status, 200, answer.body[:200])
        return answer

    def test_folded_stacks(self):
        answer = self.profile_under_load("seconds=2&format=folded")
        stacks = {}
        for line in answer.body.decode().splitlines():
            stack, count = re.fullmatch(r"(.+) (\d+)", line).groups()
            stacks[stack] = int(count)
        hot = [stack for stack in stacks if re.search(
            r"handle.*;lua;.*stir app\.lua:\d+;.*simmer app\.lua:\d+$", stack)]
        self.assertTrue(hot, stacks)
        self.assertTrue([stack for stack in stacks if "MatMul" in stack and "run" in stack], stacks)
        self.assertTrue([stack for stack in stacks if stack.endswith(";wait")], stacks)
        self.assertLessEqual(sum(stacks[stack] for stack in hot), 2 * 200 * 4)

    def test_picture(self):
        answer = self.profile_under_load("seconds=1")
        self.assertEqual(answer.headers["content-type"], "image/svg+xml")
        picture = xml.fromstring(answer.body)
        self.assertEqual(picture.tag, "{http://www.w3.org/2000/svg}svg")
        titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
        self.assertTrue([title for title in titles if title.startswith("simmer app.lua:")], titles)

    def test_one_at_a_time(self):
        answers = []
        first = threading.Thread(
            target=lambda: answers.append(self.daemon.get("/admin/profile?seconds=3")))
        first.start()
        statuses = set()
        while first.is_alive() and 409 not in statuses:
            statuses.add(self.daemon.get("/admin/profile?seconds=1&format=folded").status)
        first.join()
        self.assertTrue(409 in statuses or answers[0].status == 409)
        self.assertEqual(self.daemon.get("/admin/profile?seconds=1").status, 200)

    def test_bad_requests(self):
        for query in ("seconds=0", "seconds=61", "seconds=x", "seconds=-1", "seconds=1e1",
                      "format=png"):
            self.assertEqual(self.daemon.get("/admin/profile?" + query).status, 400, query)


if __name__ == "__main__":
    unittest.main()
