"""The cache verbs: a warmed cache answers, can be carried elsewhere, is collected and cleared."""

import os

from support import GOLDEN, MoecTest, main

MIXTRAL = GOLDEN / "mixtral"


class Cache(MoecTest):
    def test_looking_does_not_make_a_cache(self):
        self.assertFalse(self.expect_json("cache", "stat")["exists"])
        self.expect(0, "doctor")
        self.assertFalse(self.cache.exists())

    def test_a_second_compile_comes_from_the_cache_and_is_the_same(self):
        first = self.expect_json("compile", MIXTRAL, "-o", "a")
        second = self.expect_json("compile", MIXTRAL, "-o", "b")
        self.assertFalse(first["cache_hit"])
        self.assertGreater(first["kernels_built"], 0)
        self.assertTrue(second["cache_hit"])
        self.assertEqual((self.folder / "a").read_bytes(), (self.folder / "b").read_bytes())

    def test_a_log_tells_what_was_built_and_what_was_found(self):
        quiet, told = {}, {"MOEC_LOG": "info"}
        self.assertEqual(self.expect(0, "compile", MIXTRAL, "-o", "a", variables=quiet).stderr, "")
        self.expect(0, "compile", MIXTRAL, "-o", "a", variables=told, says=["came from the cache in"])
        self.expect(0, "compile", MIXTRAL, "-o", "a", "--no-cache", variables=told, says=["compiled 1 layers for", "kernels were built"])
        self.expect(0, "compile", MIXTRAL, "-o", "a", "--target=cpu-avx2", variables={"MOEC_LOG": "debug"}, says=["cache: ", " missing"])

    def test_no_cache_keeps_nothing(self):
        self.assertFalse(self.expect_json("compile", MIXTRAL, "-o", "a", "--no-cache")["cache_hit"])
        self.assertFalse(self.cache.exists())

    def test_warming_twice_compiles_once(self):
        self.assertGreater(self.expect_json("cache", "warm", MIXTRAL)["models"][0]["kernels_built"], 0)
        again = self.expect_json("cache", "warm", MIXTRAL, compiler="/nonexistent/libmoec-compiler.so")["models"][0]
        self.assertTrue(again["cache_hit"])
        self.assertEqual(again["kernels_built"], 0)

    def test_an_exported_cache_answers_elsewhere(self):
        self.expect(0, "cache", "warm", MIXTRAL)
        exported = self.expect_json("cache", "export", "warm.moecache")
        self.assertEqual(exported["entries"], self.expect_json("cache", "stat")["entries"])
        self.cache = self.folder / "elsewhere"
        self.assertEqual(self.expect_json("cache", "import", "warm.moecache")["entries"], exported["entries"])
        self.assertEqual(self.expect_json("cache", "verify")["corrupt"], 0)
        self.expect(0, "cache", "warm", MIXTRAL, compiler="/nonexistent/libmoec-compiler.so")

    def test_a_damaged_export_is_refused_whole(self):
        self.expect(0, "cache", "warm", MIXTRAL)
        self.expect(0, "cache", "export", "warm.moecache")
        archive = self.folder / "warm.moecache"
        data = archive.read_bytes()
        self.cache = self.folder / "elsewhere"
        for bad in (data[:-1], data[:100], b"", data[:200] + bytes([data[200] ^ 1]) + data[201:]):
            archive.write_bytes(bad)
            self.expect(6, "cache", "import", "warm.moecache", says=["warm.moecache"])
        self.assertFalse(self.cache.exists())

    def test_files_of_others_stay_whatever_folder_is_named(self):
        photos = self.folder / "home" / "photos"
        photos.mkdir(parents=True)
        mine = [photos / name for name in ("cat.jpg", "d41d8cd98f00b204e9800998ecf8427e", ".tmp-cat")]
        for path in mine:
            path.write_text("a cat")
            os.utime(path, (0, 0))
        where = ("--cache-dir", self.folder / "home")
        self.assertEqual(self.expect_json("cache", "stat", *where)["entries"], 0)
        for verb in (["verify", "--remove"], ["gc", "--max-size=0"], ["clear"]):
            self.assertEqual(self.expect_json("cache", *verb, *where)["removed"], 0)
        self.assertEqual([path.read_text() for path in mine], ["a cat"] * 3)

    def test_collecting_leaves_at_most_what_was_asked_for(self):
        self.expect(0, "compile", MIXTRAL, "-o", "a")
        before = self.expect_json("cache", "stat")
        left = self.expect_json("cache", "gc", "--max-size", before["bytes"] - 1)
        self.assertLess(left["bytes"], before["bytes"])
        self.assertGreaterEqual(left["removed"], 1)
        self.assertEqual(left["entries"] + left["removed"], before["entries"])
        self.assertEqual(self.expect_json("cache", "clear")["entries"], 0)
        self.assertEqual(self.expect_json("cache", "stat")["entries"], 0)


if __name__ == "__main__":
    main()
