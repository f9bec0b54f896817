// Command web is the example: a small web server that says which copy of the task answered.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	greeting := os.Getenv("GREETING")
	if greeting == "" {
		greeting = "Hello from Havn"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s: container %s answers %s\n", greeting, host, r.URL.Path)
		log.Printf("%s %s from %s", r.Method, r.URL.Path, r.RemoteAddr)
	})
	http.HandleFunc("/health", func(http.ResponseWriter, *http.Request) {}) // the load balancer's; nobody wants to read of each
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		log.Printf("received %v, goodbye", <-stop)
		os.Exit(0)
	}()
	log.Println("listening on port 80")
	log.Fatal(http.ListenAndServe(":80", nil))
}
