// Judges chains as Go's crypto/x509 does: as a TLS client's certificate, and as a server's.
//
// Input: one JSON object {"name", "root", "chain", "now", "host"} a line, with PEM texts and RFC 3339; a server
// must have the host name, if there is one.
// Output: one JSON object {"name", "client", "server"} a line; a judgement is an error, or empty.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"time"
)

type question struct {
	Name, Root, Chain, Host string
	Now                     time.Time
}

func certificates(text string) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for rest := []byte(text); ; {
		block, after := pem.Decode(rest)
		if block == nil {
			return found, nil
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found, rest = append(found, one), after
	}
}

func judge(asked question, usage x509.ExtKeyUsage) error {
	root, err := certificates(asked.Root)
	if err != nil {
		return err
	}
	chain, err := certificates(asked.Chain)
	if err != nil {
		return err
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root[0])
	for _, one := range chain[1:] {
		intermediates.AddCert(one)
	}
	options := x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   asked.Now,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	if usage == x509.ExtKeyUsageServerAuth {
		options.DNSName = asked.Host
	}
	_, err = chain[0].Verify(options)
	return err
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		answer, _ := json.Marshal(map[string]string{
			"name":   asked.Name,
			"client": text(judge(asked, x509.ExtKeyUsageClientAuth)),
			"server": text(judge(asked, x509.ExtKeyUsageServerAuth)),
		})
		fmt.Println(string(answer))
	}
}
