package event

import "strconv"

// scaledToZero reports whether a request set the number of a workload's replicas
// to 0. The response decides where it is shown, because there are many ways to ask
// for it. A workload that ran no pod is not scaled. Where neither body nor response
// is shown it is not known.
func (e *Event) scaledToZero() any {
	verb := e.auditedText(logField + "verb")
	if verb != "patch" && verb != "update" {
		return false
	}
	scale := e.auditedText(logField+"objectRef.subresource") == "scale"
	asked := e.askedReplicas(scale && verb == "update")
	if !scale && asked == replicasUntouched {
		return false
	}
	set, known := e.audited(logField + "responseObject.spec.replicas")
	spec, _ := e.audited(logField + "responseObject.spec")
	if _, shown := spec.(map[string]any); !shown || set == nil && !known {
		if asked == replicasHidden {
			return notKnown
		}
		return asked == replicasZero
	}
	if scale { // a Scale omits 0
		return set == nil || isZero(set)
	}
	running, known := e.audited(logField + "responseObject.status.replicas")
	return isZero(set) && (running != nil && !isZero(running) || running == nil && !known)
}

// What the body of a request asks for.
type asked uint8

const (
	replicasUntouched asked = iota // as far as it is shown
	replicasSet
	replicasZero
	replicasHidden // the body is withheld or cut
)

// askedReplicas reads the body. A Scale as a whole omits 0.
func (e *Event) askedReplicas(wholeScale bool) asked {
	whole, _ := e.audited(logField + "requestObject")
	patch, ok := whole.([]any)
	if !ok {
		replicas, known := e.audited(logField + "requestObject.spec.replicas")
		switch {
		case replicas == nil && !known:
			return replicasHidden
		case replicas == nil && wholeScale && e.requestBody() == bodyShown:
			return replicasZero
		case replicas == nil:
			return replicasUntouched
		case isZero(replicas):
			return replicasZero
		}
		return replicasSet
	}
	if e.log.last == "requestObject" {
		return replicasHidden
	}
	most := replicasUntouched
	for _, operation := range patch {
		o, _ := operation.(map[string]any)
		switch path := scalarText(o["path"]); {
		case path == "/spec/replicas" && isZero(o["value"]):
			most = max(most, replicasZero)
		case path == "/spec/replicas", path == "/spec", path == "":
			most = max(most, replicasSet)
		}
	}
	return most
}

func isZero(v any) bool {
	f, err := strconv.ParseFloat(scalarText(v), 64)
	return err == nil && f == 0
}
