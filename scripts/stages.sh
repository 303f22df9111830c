# shellcheck shell=bash
# Sourced by scripts/test: what is tested, stage by stage. A stage is a function stage_NAME whose
# exit status is the result; leave_out says why it can't run here. Each runs in a shell of its own.

# shellcheck source=scripts/services.d/otelcol
source "$ROOT/scripts/services.d/otelcol"
# shellcheck source=scripts/services.d/kafka
source "$ROOT/scripts/services.d/kafka"
# shellcheck source=scripts/services.d/rabbitmq
source "$ROOT/scripts/services.d/rabbitmq"

# shellcheck disable=SC2034  # read by scripts/test
STAGES=(needs fetch fmt clippy features doc tests deny python collector kafka rabbitmq package budgets demo)
# shellcheck disable=SC2034
declare -A ABOUT=(
    [needs]="Rust, a C compiler and the tools of the chosen stages (installed when missing)"
    [fetch]="the crates of Cargo.lock"
    [fmt]="formatting"
    [clippy]="lints, all targets and features, warnings denied"
    [features]="each published crate without features, with each alone, with all"
    [doc]="rustdoc, warnings denied"
    [tests]="unit, integration and documentation tests of the workspace"
    [soak]="the long tests: ignored ones named soak_... (only with --soak)"
    [deny]="licences, sources, no second version of OpenTelemetry"
    [python]="the Python peers install and work, and the tests that need them"
    [collector]="the OpenTelemetry Collector builds and starts, and the tests that need it"
    [kafka]="Apache Kafka starts, and the tests that need it, with the Python peers"
    [rabbitmq]="RabbitMQ starts, and the tests that need it, with the Python peers"
    [package]="cargo package of every published crate"
    [budgets]="the bench's tests, then instruction and allocation budgets"
    [demo]="the example pipeline: one question, then 200 requests, 16 at a time"
)
# What a stage needs beyond Rust and a C compiler.
declare -A TOOLS=(
    [fmt]=rustfmt [clippy]=clippy [features]="clippy jq" [deny]=cargo-deny [python]="venv"
    [collector]="curl jq" [kafka]="java mvn kcat venv"
    [rabbitmq]="rabbitmq-server venv"
    [package]=jq [budgets]=valgrind [demo]=jq
)
# shellcheck disable=SC2034
ALWAYS_LEFT_OUT=("security advisories (their database is a git repository: run 'cargo deny check advisories' where it can be fetched)")

CARGO_DENY_VERSION=0.20.2
CARGO_DENY_DIR=$CACHE/cargo-deny-$CARGO_DENY_VERSION
CARGO_DENY=$CARGO_DENY_DIR/bin/cargo-deny

# The one place that says how the budgets are measured; it prints a table and fails on a missed one.
# Times are for the eye: one process each instead of five.
BUDGETS=(cargo bench --locked --package otel-ml-bench -- --timed 1)

leave_out() {
    echo "$*" >"$RUN/left-out"
    exit "$LEFT_OUT"
}

# leave_out_part WHAT: the stage goes on without it; with CI=true that is a failure.
leave_out_part() {
    echo "$*" >>"$RUN/parts-left-out"
    [[ ${CI:-} != true ]]
}

tool_ready() {
    case $1 in
        rustfmt) cargo fmt --version ;;
        clippy) cargo clippy --version ;;
        cargo-deny) [[ -x $CARGO_DENY ]] ;;
        venv) python3 -c 'import ensurepip, venv' ;;
        # On root's PATH alone.
        rabbitmq-server) rabbitmq_installed ;;
        *) has "$1" ;;
    esac >/dev/null 2>&1
}

tools_of_chosen() {
    local stage
    for stage in "${CHOSEN[@]}"; do printf '%s\n' ${TOOLS[$stage]:-}; done | sort -u
}

# start_in_background NAME COMMAND...: at low priority, beside the stages that follow.
start_in_background() {
    local job=$RUN/background-$1
    shift
    echo "in the background: $*"
    # shellcheck disable=SC2016  # for the inner shell
    setsid nice -n 19 bash -c '"${@:2}"; echo "$?" >"$1"' _ "$job.rc" "$@" \
        >"$job.log" 2>&1 </dev/null &
    echo "$!" >"$job.pid"
}

# Waits for what was started in the background, shows its log and fails when it did.
wait_for() {
    local job=$RUN/background-$1
    tail --pid="$(<"$job.pid")" -f /dev/null
    cat "$job.log"
    [[ $(cat "$job.rc" 2>/dev/null) == 0 ]]
}

stop_background() {
    local pid
    for pid in "$RUN"/*.pid; do
        if [[ -e $pid && ! -e ${pid%.pid}.rc ]]; then
            kill -- "-$(<"$pid")" 2>/dev/null || true
        fi
    done
}

# What can't be had is not an error here: the stages that need it are left out, by name.
stage_needs() {
    local tool packages=() components=()
    need_rust
    need_compiler
    echo "$(cargo --version), $(cc --version | head -n 1)"
    for tool in $(tools_of_chosen); do
        tool_ready "$tool" && continue
        case $tool in
            rustfmt | clippy) components+=("$tool") ;;
            venv) packages+=(python3 python3-venv) ;;
            java) packages+=(openjdk-17-jre-headless) ;;
            mvn) packages+=(maven) ;;
            cargo-deny) ;;
            *) packages+=("$tool") ;;
        esac
    done
    if ((${#packages[@]})); then install_packages "${packages[@]}" || true; fi
    if ((${#components[@]})); then rustup component add "${components[@]}" || true; fi
    if { chosen python || chosen kafka || chosen rabbitmq; } && tool_ready venv; then
        start_in_background python "$ROOT/scripts/services" up python
    fi
    if chosen collector && otelcol_available; then
        # shellcheck disable=SC2016  # for the inner shell
        start_in_background otelcol bash -euo pipefail -c \
            'source "$0/lib.sh" && source "$0/services.d/otelcol" && otelcol_build' "$ROOT/scripts"
    fi
    if chosen kafka && kafka_available; then
        # shellcheck disable=SC2016  # for the inner shell
        start_in_background kafka bash -euo pipefail -c \
            'source "$0/lib.sh" && source "$0/services.d/kafka" && kafka_fetch' "$ROOT/scripts"
    fi
    if chosen deny && ! tool_ready cargo-deny; then
        start_in_background cargo-deny env -u CARGO_TARGET_DIR cargo install --locked --quiet \
            --root "$CARGO_DENY_DIR" --version "$CARGO_DENY_VERSION" cargo-deny
    fi
}

stage_fetch() { cargo fetch --locked; }

stage_fmt() { cargo fmt --all --check; }

stage_clippy() {
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
    # A target that is no test by default is not among all targets.
    cargo clippy --workspace --all-features --locked \
        --test collector --test kafka --test python --test interop --test broker --test amqp -- -D warnings
}

stage_doc() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --locked
}

# Without the bench: all its features are its peers too, which switch on features of shared crates
# that nobody who uses ours asked for. Its tests are run beside the budgets.
WORKSPACE=(--workspace --exclude otel-ml-bench --all-features --locked)

stage_tests() {
    cargo test "${WORKSPACE[@]}" --no-fail-fast
    # What is so where OTLP is not compiled in.
    cargo test --locked --package otel-ml-sdk --features tracing --test it files_alone
}

# Runs the test targets of these names, built as all tests are, so that nothing is built twice.
run_targets() {
    local name targets=()
    for name in "$@"; do targets+=(--test "$name"); done
    # Not to have tested anything is no success.
    cargo test "${WORKSPACE[@]}" "${targets[@]}" -- --list | grep ': test$'
    cargo test "${WORKSPACE[@]}" "${targets[@]}"
}

stage_soak() {
    local tests=(cargo test --workspace --release --locked --no-fail-fast --lib --bins --tests)
    "${tests[@]}" -- --ignored --list soak_ | grep -q ': test$' || leave_out "there is no long test yet"
    "${tests[@]}" -- --ignored soak_
}

# Workspace members that match a jq condition, one a line: what FORMAT makes of each.
members() {
    cargo metadata --format-version 1 --no-deps --locked |
        jq -r ".packages[] | select($1) | $2"
}
PUBLISHED='.publish != []'

# Clippy, since its lint level reaches the crate alone: dead code and unused imports of one
# combination are errors. Without --all-targets no dev-dependency switches features on.
lint_features() {
    echo "--- $*"
    cargo clippy --quiet --lib --locked --package "$@" -- -D warnings
}

stage_features() {
    local lines line words crate feature failed=0
    lines=$(members "$PUBLISHED" '[.name] + (.features | keys - ["default"]) | join(" ")')
    [[ -n $lines ]]
    while read -r line; do
        read -ra words <<<"$line"
        crate=${words[0]}
        lint_features "$crate" --no-default-features || failed=1
        for feature in "${words[@]:1}"; do
            lint_features "$crate" --no-default-features --features "$feature" || failed=1
        done
        if ((${#words[@]} > 2)); then lint_features "$crate" --all-features || failed=1; fi
    done <<<"$lines"
    return "$failed"
}

stage_deny() {
    tool_ready cargo-deny || wait_for cargo-deny || leave_out "cargo-deny could not be built (see .run/test/deny.log)"
    "$CARGO_DENY" --locked check bans licenses sources
}

stage_python() {
    wait_for python || leave_out "the Python packages could not be installed (see .run/test/python.log)"
    local variables
    variables=$("$ROOT/scripts/services" env python)
    eval "$variables"
    "$ROOT/scripts/services" status python
    "$OTEL_ML_PYTHON" "$ROOT/scripts/services.d/python-smoke.py"
    export OTEL_ML_PYTHON
    run_targets python interop
}

# One that somebody works with stays up.
start_and_stop_collector() {
    local was_up=1
    "$ROOT/scripts/services" status otelcol || was_up=0
    "$ROOT/scripts/services" up otelcol
    "$ROOT/scripts/services" status otelcol
    if ((was_up)); then return; fi
    "$ROOT/scripts/services" down otelcol
    ! "$ROOT/scripts/services" status otelcol
}

stage_collector() {
    local why binary
    why=$(otelcol_available) || leave_out "$why"
    wait_for otelcol || leave_out "the Collector could not be built (see .run/test/collector.log)"
    binary=$(otelcol_binary)
    OTELCOL_OUTPUT=$OTELCOL_RUN "$binary" validate --config "$OTELCOL_CONFIG"
    start_and_stop_collector
    export OTEL_ML_OTELCOL=$binary
    run_targets collector
}

# start_broker COMPONENT: it is stopped with the stage, unless somebody works with it.
start_broker() {
    "$ROOT/scripts/services" status "$1" && return
    # shellcheck disable=SC2064  # this one, not what $1 is then
    trap "'$ROOT/scripts/services' down $1" EXIT
    "$ROOT/scripts/services" up "$1"
}

stage_kafka() {
    local why variables
    why=$(kafka_available) || leave_out "$why"
    wait_for kafka || leave_out "Kafka's jars could not be fetched (see .run/test/kafka.log)"
    wait_for python || leave_out "the Python packages could not be installed (see .run/test/kafka.log)"
    start_broker kafka
    variables=$("$ROOT/scripts/services" env kafka python)
    eval "$variables"
    # What also runs on a mock, in the stage of tests, and what wants a real broker.
    cargo test --locked --package otel-ml-rdkafka --test it
    run_targets matrix kafka
}

stage_rabbitmq() {
    local variables
    rabbitmq_installed || leave_out "RabbitMQ is missing (Debian: rabbitmq-server)"
    wait_for python || leave_out "the Python packages could not be installed (see .run/test/rabbitmq.log)"
    start_broker rabbitmq
    variables=$("$ROOT/scripts/services" env rabbitmq python)
    eval "$variables"
    run_targets broker matrix amqp
    cargo test --locked --package otel-ml-pipeline --test it -- --ignored amqp
}

stage_package() {
    local incomplete name exclude=()
    incomplete=$(members "$PUBLISHED and ([.description, .readme, .keywords[0], .categories[0], .metadata.docs.rs] | any(. == null))" .name)
    if [[ -n $incomplete ]]; then
        echo "description, readme, keywords, categories or [package.metadata.docs.rs] missing: $incomplete"
        return 1
    fi
    for name in $(members "$PUBLISHED | not" .name); do exclude+=(--exclude "$name"); done
    # Cargo takes what it once unpacked and built of a version for good: the crates of the last
    # run, which have the same version, must not stand in for these.
    rm -rf -- "$RUN/package" "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/otel-ml*
    cargo package --workspace --locked --allow-dirty --target-dir "$RUN/package" "${exclude[@]}"
}

stage_budgets() {
    local variables
    if rabbitmq_installed; then
        start_broker rabbitmq
        variables=$("$ROOT/scripts/services" env rabbitmq)
        eval "$variables"
    else
        leave_out_part "what AMQP's clients cost: RabbitMQ is missing (Debian: rabbitmq-server)"
    fi
    # Built as the bench is, so that it is built once.
    cargo test --profile bench --locked --package otel-ml-bench
    "${BUDGETS[@]}"
    # What only instruments bound to their labels have within its budget.
    cargo bench --locked --package otel-ml-bench --features bound-instruments -- \
        --timed 1 --suite worker-traced
}

# Every parent is there, in its child's trace, and there is a trace for each of $requests.
# shellcheck disable=SC2016  # jq's variables
CHECK_TRACES='
[.[].resourceSpans[].scopeSpans[].spans[]] as $spans
| ($spans | map({key: .spanId, value: .traceId}) | from_entries) as $trace_of
| ($spans | map(.traceId) | unique | length) as $traces
| ($spans | map(select((.parentSpanId // "") != "" and $trace_of[.parentSpanId] != .traceId)) | length) as $orphans
| "\($traces) traces, \($spans | length) spans, \($orphans) without their parent",
  ($traces >= $requests and $orphans == 0)'

stage_demo() {
    local spans=$RUN/demo-spans.jsonl answer
    answer=$("$ROOT/scripts/demo")
    echo "$answer"
    [[ -n $answer ]]
    rm -f "$spans"
    "$ROOT/scripts/demo" --json "$spans" --requests 200 --concurrency 16
    jq -rse --argjson requests 200 "$CHECK_TRACES" "$spans"
}
