// Command router is a log router for tests: it prints its configuration, and then what it is sent, by the Forward protocol on
// FireLens's socket and as plain lines on its port.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"

	"github.com/tinylib/msgp/msgp"
)

func main() {
	config, err := os.ReadFile("/fluent-bit/etc/fluent-bit.conf")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s", config)
	os.Remove("/var/run/fluent.sock")
	go serve("tcp", ":24224", func(c net.Conn) {
		for lines := bufio.NewScanner(c); lines.Scan(); {
			fmt.Println("port:", lines.Text())
		}
	})
	serve("unix", "/var/run/fluent.sock", func(c net.Conn) {
		for r := msgp.NewReader(c); ; {
			batch, err := r.ReadIntf()
			if err != nil {
				return
			}
			for _, entry := range batch.([]any)[1].([]any) {
				record := entry.([]any)[1].(map[string]any)
				fmt.Println(batch.([]any)[0], record["container_name"], record["source"], record["log"])
			}
		}
	})
}

func serve(network, address string, read func(net.Conn)) {
	l, err := net.Listen(network, address)
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer c.Close()
			read(c)
		}()
	}
}
