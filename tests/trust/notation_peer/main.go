// Command notation-peer signs and verifies single JWS envelopes with the Notary Project's own
// library, so that lading's reading and writing can be held against it.
//
//	notation-peer sign KEY.pem CHAIN.pem < payload.json > envelope.json
//	notation-peer verify ROOT.pem < envelope.json > payload.json
package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/jws"
)

const payloadType = "application/vnd.cncf.notary.payload.v1+json"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 3 && args[0] == "sign":
		return sign(args[1], args[2], input)
	case len(args) == 2 && args[0] == "verify":
		return verify(args[1], input)
	}
	return errors.New("usage: notation-peer sign KEY CHAIN | verify ROOT")
}

func sign(keyFile, chainFile string, payload []byte) error {
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return errors.New("no PEM in the key file")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	chain, err := certificates(chainFile)
	if err != nil {
		return err
	}
	signer, err := signature.NewLocalSigner(chain, key)
	if err != nil {
		return err
	}
	envelope, err := signature.NewEnvelope(jws.MediaTypeEnvelope)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	raw, err := envelope.Sign(&signature.SignRequest{
		Payload:       signature.Payload{ContentType: payloadType, Content: payload},
		Signer:        signer,
		SigningTime:   now,
		Expiry:        now.Add(24 * time.Hour),
		SigningScheme: signature.SigningSchemeX509,
		SigningAgent:  "notation-peer/1",
	})
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(raw)
	return err
}

func verify(rootFile string, raw []byte) error {
	roots, err := certificates(rootFile)
	if err != nil {
		return err
	}
	envelope, err := signature.ParseEnvelope(jws.MediaTypeEnvelope, raw)
	if err != nil {
		return err
	}
	content, err := envelope.Verify()
	if err != nil {
		return err
	}
	if _, err := signature.VerifyAuthenticity(&content.SignerInfo, roots); err != nil {
		return err
	}
	_, err = os.Stdout.Write(content.Payload.Content)
	return err
}

func certificates(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, certificate)
	}
	return found, nil
}
