package version

import (
	"regexp"
	"strconv"
	"strings"
)

var number = regexp.MustCompile(`\d+(?:\.\d+)*`)

// Older reports whether the first version number in text, such as "v20.1" or
// "go1.26.8", is below least. Parts that it lacks count as 0.
func Older(text, least string) bool {
	have := strings.Split(number.FindString(text), ".")
	for i, part := range strings.Split(least, ".") {
		h := 0
		if i < len(have) {
			h, _ = strconv.Atoi(have[i])
		}
		if w, _ := strconv.Atoi(part); h != w {
			return h < w
		}
	}
	return false
}
