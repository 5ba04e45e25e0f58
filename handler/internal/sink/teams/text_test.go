package teams

import "testing"

func TestPlain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		// What hides or changes other text.
		"":                                 "",
		"plain":                            "plain",
		" a \t\r\n b\u00a0\u2003c ":        "a b c",
		"a\u2028b\u2029c\u0085d":           "a b c d",
		"a\x00b\x1bc\x7f":                  "a\ufffdb\ufffdc\ufffd",
		"\u202eabc\u2069":                  "\ufffdabc\ufffd",
		"ad\u200dmin\u200c":                "admin",
		"ad\u200bmin\ufeff":                "ad\ufffdmin\ufffd",
		"x\u0301\u0302\u0303\u0304\u0305y": "x\u0301\u0302\u0303y",
		"\u3164\u115f":                     "\ufffd\ufffd",
		"bad\xff":                          "bad\ufffd",
		// What is too long.
		"0123456789ABCDEFGHIJ":        "0123456789ABCDEFGHIJ",
		"0123456789ABCDEFGHIJK":       "0123456789AB…EFGHIJK",
		"äöüäöüäöüäöüäöüäöüäöüäöüäöü": "äöüäöüäöüäöü…üäöüäöü",
		// What a client evaluates.
		"{{x}}":       "{\u200b{x}}",
		"{{{{":        "{\u200b{\u200b{\u200b{",
		"{ {":         "{ {",
		"{\u200d{":    "{\u200b{",
		"[a](b)":      "[a]\u200b(b)",
		"[a][b]":      "[a]\u200b[b]",
		"[a]: b":      "[a]\u200b: b",
		"**a**":       "∗∗a∗∗",
		"_a_ b_c __d": "ˍaˍ b_c ˍˍd",
		"`a`":         "ˋaˋ",
		"~~a~~":       "\u200b~\u200b~a~\u200b~",
		"- a - b":     "\u200b- a - b",
		"+a":          "\u200b+a",
		"# a # b":     "\u200b# a # b",
		"> a":         "\u200b> a",
		"1. a":        "\u200b1. a",
		"1)":          "\u200b1)",
		"1.5- a":      "\u200b1.5- a",
		"a)- b]2. c":  "a)\u200b- b]\u200b2. c",
		"https://a.b": "https:/\u200b/a.b",
		"Www.a.b":     "Www\u200b.a.b",
		"<a:b>":       "<\u200ba:b>",
		// What can be copied.
		"203.0.113.24":    "203.0.113.24",
		"2001:db8::1":     "2001:db8::1",
		"dana@example.de": "dana@example.de",
		"/a_b/c.d/e-f(g)": "/a_b/c.d/e-f(g)",
		"system:node:a.b": "system:node:a.b",
		"2026-11-09":      "2026-11-09",
	} {
		if got := plain(in, 20); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}
