// Command origin is a web server that is as hard on its load balancer as one can be: it ends at once when it is told to.
//
//	GET  /           the version that it is ($VERSION)
//	GET  /slow?ms=N  the same, after so long; half of it is sent before
//	POST /echo       what was sent
//	GET  /health     $HEALTH, or 200
package main

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if code, err := strconv.Atoi(os.Getenv("EXIT")); err == nil {
		os.Exit(code)
	}
	version := os.Getenv("VERSION")
	health, err := strconv.Atoi(cmp.Or(os.Getenv("HEALTH"), "200"))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
	http.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(time.Duration(ms) * time.Millisecond / 2)
		fmt.Fprint(w, version[:len(version)/2])
		w.(http.Flusher).Flush()
		time.Sleep(time.Duration(ms) * time.Millisecond / 2)
		fmt.Fprintln(w, version[len(version)/2:])
	})
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // all of it first: Go's server does not answer while it reads
		if err != nil {
			log.Print(err)
			return
		}
		w.Write(body) //nolint:errcheck // who asked is gone
	})
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(health) })
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		log.Printf("received %v", <-stop)
		os.Exit(0)
	}()
	log.Fatal(http.ListenAndServe(":80", nil))
}
