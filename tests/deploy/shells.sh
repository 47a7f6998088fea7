#!/usr/bin/env bash
# Has the shells read the completions and complete with them, and man read its pages.
#
#   tests/deploy/shells.sh target/debug/agent-session-exporter
#
# Needs bash, and on the PATH zsh, fish, man and mandoc. Nobody judges what is for Elvish and PowerShell.
set -euo pipefail

program=$(realpath "${1:?usage: $0 PROGRAM}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

wrong() {
    echo "$*" >&2
    exit 1
}

for shell in bash zsh fish; do
    "$program" completions "$shell" >"completions.$shell"
    "$shell" -n "completions.$shell" || wrong "$shell cannot read its completions"
done

# What is offered, one on each line, after a word that was begun.
expect() { # SHELL WORD, and what is offered on standard input
    grep -qx -- "$2" || wrong "$1 does not offer $2"
}
in_bash() { # FUNCTION's words: the last one is being typed
    bash --noprofile --norc -c 'source completions.bash
        COMP_WORDS=(agent-session-exporter "$@") COMP_CWORD=$#
        complete=$(complete -p agent-session-exporter)
        [[ $complete =~ -F\ ([^ ]+) ]]
        "${BASH_REMATCH[1]}" agent-session-exporter "${@: -1}" "${@: -2:1}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}
in_bash ser | expect bash serve
in_bash serve --web.l | expect bash --web.listen-address
in_bash serve --log.level wa | expect bash warn
in_fish() { fish --no-config -c 'source completions.fish; complete -C "agent-session-exporter $argv"' "$1" | cut -f1; }
in_fish ser | expect fish serve
in_fish 'serve --web.l' | expect fish --web.listen-address
in_fish 'serve --log.level wa' | expect fish warn
# Zsh completes only where somebody types: here it must take the function for the command.
zsh -f -c 'autoload -U compinit && compinit -u -D && source ./completions.zsh && print -- $_comps[agent-session-exporter]' |
    expect zsh _agent-session-exporter
echo 'bash and fish complete, zsh takes the function'

"$program" man --out pages >written.txt
[[ $(wc -l <written.txt) -eq $(ls pages | wc -l) ]] || wrong 'not all pages are told'
"$program" man | cmp - pages/agent-session-exporter.1
# What is written first may go on being read last.
"$program" man | head -n1 >/dev/null
for page in pages/*.1; do
    said=$(LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings=w -l "$page" 2>&1 >"$page.txt")
    [[ -z $said ]] || wrong "man: $page: $said"
    mandoc -T lint -W error "$page" || wrong "mandoc refuses $page"
    # Every command is named with its options where the help has them, and its examples are lines.
    for section in NAME SYNOPSIS OPTIONS EXAMPLES 'EXIT CODES'; do
        grep -qx "$section" "$page.txt" || wrong "$page has no $section"
    done
done
grep -qx '       agent-session-exporter serve --once --log.format json' pages/agent-session-exporter-serve.1.txt ||
    wrong 'examples are not lines'
printf '.TH x 1\n.SH NAME\n.nosuchrequest\n' >broken.1
[[ -n $(man --warnings=w -l broken.1 2>&1 >/dev/null) ]] || wrong 'man takes a page with an unknown request'

: >file
"$program" man --out file/below 2>said.txt && wrong 'pages were written below a file'
grep -q 'give another --out' said.txt || wrong "it is not said what to do: $(cat said.txt)"
echo "man takes $(ls pages/*.1 | wc -l) pages"
