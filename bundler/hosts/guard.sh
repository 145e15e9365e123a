# Runs on the host, as root, in a session of its own that it leads. Set before it, by the same text:
#   n  a random word that marks what we say        s  the script         p  bytes of its standard input
#   t  its seconds                                 e  the epoch, empty for a question
#   w  seconds to wait for the lock                a  seconds without a sign of life after which the session is gone
#   g  seconds between TERM and KILL
# File descriptors: 3 the session's input (with an epoch a dot when the lock is ours; the payload, a dot, then a dot as a
# sign of life now and then), 5 the script, 9 the lock, which everything that the script starts holds too.

answer() {
    printf '\n%s %s\n' "$n" "$1"
    printf '\n%s end\n' "$n" >&2
    exec >/dev/null 2>&1
    kill -KILL 0   # what is left here: the watch
}

refuse() {
    echo "$2" >&2
    answer "$1"
}

# The session is gone: so is everything in it. This one stays to see to that.
gone() {
    trap '' TERM
    kill -TERM 0
    sleep "$g"
    kill -KILL 0
}

watch() {
    while [ "$(timeout --foreground "$a" head -c 1 <&3)" = . ]; do :; done
    gone
}

# The payload, whole or without an end: the script never sees half of it as all of it.
feed() {
    head -c "$p" <&3 2>/dev/null || {   # the script reads no more of it
        (exec >/dev/null 2>&1 9>&- && cat <&3 && gone) &
        return
    }
    [ "$(head -c 1 <&3)" = . ] || {
        (exec 9>&- && gone) &   # it keeps the pipe to the script open
        return
    }
    (exec >/dev/null 2>&1 9>&- && watch) &   # by exec: else the shell keeps copies of them, to go back to
}

holders() {
    for held in /proc/[0-9]*/fd/9; do
        [ "$held" -ef "$d/lock" ] || continue
        process=${held#/proc/} process=${process%%/*}
        [ "$process" = "$$" ] || echo "$process $(tr '\0' ' ' <"/proc/$process/cmdline" | head -c 200)"
    done
}

enter() {
    d=/var/lib/bundle
    command -v flock >/dev/null || refuse 194 "flock (of util-linux) is not installed"
    mkdir -p -m 0700 "$d" && chmod 0700 "$d" && (umask 077 && : >>"$d/lock") || refuse 194 "cannot write $d"
    exec 9<"$d/lock"
    flock -w "$w" 9 || refuse 196 "$(holders 9<&-)"
    known=0
    [ ! -e "$d/epoch" ] || read -r known <"$d/epoch"
    case $known in '' | *[!0-9]*) refuse 194 "$d/epoch is damaged" ;; esac
    [ "$e" -ge "$known" ] || refuse 195 "the newest epoch here is $known"
    [ "$e" -eq "$known" ] || {
        echo "$e" >"$d/epoch.new" && sync "$d/epoch.new" && mv -f "$d/epoch.new" "$d/epoch" && sync "$d"
    } || refuse 194 "cannot write $d/epoch"
}

# All that holds the lock is gone, or was killed.
leave() {
    trap '' TERM
    kill -TERM 0
    [ -z "$e" ] || {
        exec 9<&-
        flock -w "$g" "$d/lock" true
    }
}

guard() {
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
    export PATH HOME LC_ALL
    unset LANGUAGE
    umask 022
    cd /
    exec 3<&0 </dev/null
    printf '%s\n' "$n" >&2
    cut=
    trap 'cut=1' TERM
    [ -z "$e" ] || enter
    printf '%s\n' "$n"
    # A session that ended while we waited for the lock must not begin now, behind another that took its place.
    [ -z "$e" ] || [ "$(timeout --foreground "$a" head -c 1 <&3)" = . ] || answer 197
    printf %s "$s" | {
        exec 5<&0 </dev/null
        feed | timeout --foreground -k "$g" "$t" sh -c 's=$(cat <&5) && exec 3<&- 5<&- && eval "$s"' bundle
    }
    code=$?
    leave
    [ -z "$cut" ] || code=197
    answer "$code"
}

guard
