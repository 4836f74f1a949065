package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
	"github.com/karapace/karapace/cmd/karapace-server/internal/observe"
	"github.com/karapace/karapace/cmd/karapace-server/internal/registry"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	recountEvery  = 10 * time.Minute
)

// serve runs the server until it is told to stop, and then until its transfers have ended.
func serve(ctx context.Context, c config.Config, logs io.Writer) error {
	log, err := observe.Logger(logs, c.LogLevel)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !c.ReadOnly {
		serving, err := registry.Serving(c.Storage)
		if err != nil {
			return err
		}
		defer serving.Close()
	}
	reg, err := registry.New(context.WithoutCancel(ctx), c, log) // transfers outlive the signal
	if err != nil {
		return err
	}
	defer reg.Close()
	if err := counting(ctx, c, reg, log); err != nil {
		return err
	}
	return listen(ctx, c, reg, log)
}

// counting keeps the count of what is stored true. With a limit, the server does not begin without one.
func counting(ctx context.Context, c config.Config, reg *registry.Server, log *slog.Logger) error {
	if c.Limits.Total > 0 {
		if err := reg.Recount(ctx); err != nil {
			return fmt.Errorf("measuring what is stored: %w", err)
		}
	} else if c.Storage.Kind != "file" {
		return nil // a walk through a bucket costs money, and nothing depends on it
	}
	go func() {
		for first := c.Limits.Total == 0; ; first = false {
			if !first {
				select {
				case <-ctx.Done():
					return
				case <-time.After(recountEvery):
				}
			}
			if err := reg.Recount(ctx); err != nil && ctx.Err() == nil {
				log.Error("measuring what is stored", "error", err.Error())
			}
		}
	}()
	return nil
}

// listen serves the API, and metrics where asked for.
func listen(ctx context.Context, c config.Config, reg *registry.Server, log *slog.Logger) error {
	metrics := observe.NewMetrics(version, func() float64 { return float64(reg.Used()) })
	health := &observe.Health{Storage: reg.Ready}
	mux := http.NewServeMux()
	health.Mount(mux)
	api := observe.Requests(log, metrics, registry.Part, registry.Repository, reg)
	main := server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
			mux.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r) // not through a mux, which would redirect odd paths instead of refusing them
	}), c, log)
	l, err := open(c)
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- main.Serve(l) }()
	if c.MetricsListen != "" {
		side := http.NewServeMux()
		health.Mount(side)
		side.Handle("GET /metrics", metrics.Handler())
		ml, err := net.Listen("tcp", c.MetricsListen)
		if err != nil {
			return errors.Join(err, main.Close())
		}
		other := server(side, c, log)
		defer other.Close()
		go func() { ended <- other.Serve(ml) }()
		log.Info("metrics", "address", ml.Addr().String())
	}
	log.Info("serving", "address", l.Addr().String(), "tls", c.TLS.Certificate != "", "auth", c.Auth.Kind, "storage", c.Storage.Kind, "read_only", c.ReadOnly, "version", version)
	select {
	case err := <-ended:
		return errors.Join(err, main.Close())
	case <-ctx.Done():
	}
	health.Drain()
	return drain(main, time.Duration(c.Drain), log)
}

func server(h http.Handler, c config.Config, log *slog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: min(headerTimeout, time.Duration(c.Limits.Stall)), IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

func open(c config.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, err
	}
	l = netutil.LimitListener(l, c.MaxConnections)
	if c.TLS.Certificate == "" {
		return l, nil
	}
	certificate, err := newCertificate(c.TLS)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.get, NextProtos: []string{"http/1.1"}}), nil
}

// drain takes no new requests and waits for those that run.
func drain(s *http.Server, most time.Duration, log *slog.Logger) error {
	log.Info("stopping", "transfers may take", most.String())
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		log.Warn("stopped with transfers running")
		return s.Close()
	}
	log.Info("stopped")
	return nil
}
