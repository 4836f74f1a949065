package observe

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the server's counters. Their labels have few values: no names of repositories or users.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	received *prometheus.CounterVec
	sent     *prometheus.CounterVec
	running  prometheus.Gauge
}

// NewMetrics makes counters; stored says how many bytes storage holds.
func NewMetrics(version string, stored func() float64) *Metrics {
	name := func(n string) string { return prometheus.BuildFQName("karapace_server", "", n) }
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("requests_total"), Help: "Requests answered."}, []string{"part", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name("request_duration_seconds"), Help: "Time from header to end of answer.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 300}}, []string{"part", "method"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("received_bytes_total"), Help: "Bytes of bodies received."}, []string{"part"}),
		sent:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("sent_bytes_total"), Help: "Bytes of bodies sent."}, []string{"part"}),
		running:  prometheus.NewGauge(prometheus.GaugeOpts{Name: name("requests_running"), Help: "Requests being answered."}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.received, m.sent, m.running,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name("stored_bytes"), Help: "Bytes in storage, counted every ten minutes."}, stored),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name("info"), Help: "The running version.", ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the counters, and the library's, in Prometheus's text format.
func (m *Metrics) Handler() http.Handler {
	both := prometheus.Gatherers{m.registry, libraryOnly{}}
	return promhttp.HandlerFor(both, promhttp.HandlerOpts{})
}

func (m *Metrics) count(o outcome) {
	m.requests.WithLabelValues(o.part, o.method, strconv.Itoa(o.status)).Inc()
	m.duration.WithLabelValues(o.part, o.method).Observe(o.seconds)
	m.received.WithLabelValues(o.part).Add(float64(o.received))
	m.sent.WithLabelValues(o.part).Add(float64(o.sent))
}
