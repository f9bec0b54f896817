package proxy

import (
	"net/http"
	"strconv"
	"strings"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/balance/route"
)

// statusText is what Application Load Balancers call a status.
func statusText(status int) string {
	switch status {
	case 503:
		return "Service Temporarily Unavailable"
	case 504:
		return "Gateway Time-out"
	case 413:
		return "Request Entity Too Large"
	case 414:
		return "Request-URI Too Large"
	case 405:
		return "Not Allowed"
	case 463, 464:
		return "Bad Request"
	}
	return http.StatusText(status)
}

// refuse answers with a status of the load balancer's own.
func (x *exchange) refuse(status int) {
	if x.begun {
		x.broken = true
		return
	}
	title := strconv.Itoa(status) + " " + statusText(status)
	body := "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n</body>\r\n</html>\r\n"
	x.answer(status, "text/html", body)
}

// refuseUnread answers a request that could not be read; nothing else is read of its connection.
func (x *exchange) refuseUnread(err error) {
	status := 400
	if r, ok := err.(refusal); ok {
		status = r.status
	}
	x.refuse(status)
}

// redirect answers as a redirect action says.
func (x *exchange) redirect(c *elb.RedirectActionConfig) {
	name, _ := splitHost(x.q.host)
	to := route.Location(c, route.URI{Protocol: x.scheme(), Host: name, Port: strconv.Itoa(int(x.listener.Port)), Path: x.q.path, Query: x.q.query})
	status := 302
	if c.StatusCode == elb.RedirectActionStatusCodeEnumHttp301 {
		status = 301
	}
	x.record.redirect = to
	title := strconv.Itoa(status) + " " + statusText(status)
	x.answer(status, "text/html", "<html>\r\n<head><title>"+title+"</title></head>\r\n<body>\r\n<center><h1>"+title+"</h1></center>\r\n</body>\r\n</html>\r\n",
		field{name: "Location", value: to})
}

// fixed answers as a fixed-response action says.
func (x *exchange) fixed(c *elb.FixedResponseActionConfig) {
	status := 503
	kind, body := "text/plain", ""
	if c.StatusCode != nil {
		if n, err := strconv.Atoi(*c.StatusCode); err == nil {
			status = n
		}
	}
	if c.ContentType != nil && *c.ContentType != "" {
		kind = *c.ContentType
	}
	if c.MessageBody != nil {
		body = *c.MessageBody
	}
	x.answer(status, kind+"; charset=utf-8", body)
}

// answer answers without a target.
func (x *exchange) answer(status int, kind, body string, more ...field) {
	if x.begun {
		x.broken = true
		return
	}
	x.begun = true
	x.record.status = status
	a := &response{status: status, reason: statusText(status), length: int64(len(body))}
	a.fields = append(a.fields, field{"Server", "awselb/2.0", server}, field{"Date", x.p.dates.text(now()), date})
	if status != 204 && status != 304 {
		a.fields = append(a.fields, field{"Content-Type", kind, contentType}, field{"Content-Length", strconv.Itoa(len(body)), contentLength})
	}
	a.fields = append(a.fields, more...)
	if !x.http2 && x.source != nil && !x.source.ready() {
		x.broken = true // its body may come, or not
	}
	err := x.front.begin(a, nil, a.length)
	if err == nil && body != "" && x.q.method != "HEAD" && status != 204 && status != 304 {
		err = x.front.part([]byte(body))
		x.record.received = int64(len(body))
	}
	if err == nil {
		err = x.front.end(nil)
	}
	if err != nil {
		x.broken = true
	}
}

// idOf is the resource ID of a load balancer's ARN: app/NAME/ID.
func idOf(arn string) string {
	_, id, ok := strings.Cut(arn, ":loadbalancer/")
	if !ok {
		return arn
	}
	return id
}
