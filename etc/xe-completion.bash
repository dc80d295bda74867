# Completion of xe for bash: commands, then the names of their parameters, then values.
#
# To use it, source this file, with xe in PATH or as a shell function. What it offers comes from xe itself: commands and
# parameters from `xe help`, values from lists of the pool that the line's options name (-s and the like, as they stand there: nothing
# in them is expanded), or else XE_SERVER and the other variables.

# The class of a command's `uuid=`: the longest one that begins the command's name. $1: the command
_xe_class_of_command() {
  local class="$1"
  if [[ $1 == host-cpu-info ]]; then class=host-; fi
  while [[ $class == *-* ]]; do
    class="${class%-*}"
    if [[ ,$_xe_commands, == *",$class-param-list,"* ]]; then
      echo "$class"
      return
    fi
  done
}

# The class whose objects a parameter names; empty where it names none. $1: the command, $2: the parameter
_xe_class_of() {
  case "$2" in
    uuid) _xe_class_of_command "$1" ;;
    vm | sr | host | template) echo "$2" ;;
    on | host-name) echo host ;;
    template-name | template-name-label) echo template ;;
    base-vdi-uuid | into-vdi-uuid) echo vdi ;;
    *:*) ;;
    *-uuid) echo "${2%-uuid}" ;;
  esac
}

# The names of a command's parameters, a line each; those that take a key end in a colon.
_xe_parameters() {
  xe help "$1" 2>/dev/null | sed -n 's/^ *\(reqd\|optional\) params *: *//p' | tr ',' '\n' | sed 's/^ *//; /^$/d'
}

# The fields of a class, a line each.
_xe_fields() {
  _xe_parameters "$1-list" | grep -v -e '^params$' -e ':contains$'
}

# The values of a field of every object, a line each. A comma or backslash of a value itself has a backslash before it.
# $1: the class, $2: the field
_xe_values() {
  xe "${_xe_options[@]}" "$1-list" "params=$2" --minimal 2>/dev/null | sed 's/\([^\\]\),/\1\n/g; s/\\\([,\\]\)/\1/g' | sort -u
}

# What may stand behind a parameter's equals sign, a line each. $1: the command, $2: the parameter
_xe_values_of() {
  local class own
  own="$(_xe_class_of_command "$1")"
  class="$(_xe_class_of "$1" "$2")"
  case "$2" in
    params) _xe_fields "$own" && echo all ;;
    param-name) _xe_fields "$own" ;;
    class) sed 's/,/\n/g' <<<"$_xe_commands" | sed -n 's/-param-list$//p' ;;
    power-state) printf '%s\n' halted paused running suspended ;;
    force | live | copy | compress | paused | multiple | shared | sharable | managed | bootable | unpluggable | online | auto-enable)
      printf '%s\n' true false
      ;;
    *uuid) [[ -n $class ]] && _xe_values "$class" uuid ;;
    *)
      if [[ -n $class ]]; then
        _xe_values "$class" name-label
        _xe_values "$class" uuid
      elif [[ -n $own ]] && _xe_fields "$own" | grep -qxF -e "$2"; then
        _xe_values "$own" "$2"
      fi
      ;;
  esac
}

# The parameters that can follow, as they are written, a line each. $1: the command; then its words so far
_xe_parameters_as_written() {
  local item word command="$1"
  shift
  for item in $(_xe_parameters "$command"); do
    case "$item" in
      '<vm-selectors>') printf '%s\n' vm= --multiple; _xe_fields vm | sed 's/$/=/' ;;
      '<host-selectors>') printf '%s\n' host= --multiple; _xe_fields host | sed 's/$/=/' ;;
      *:) echo "$item" ;;
      *) echo "$item=" ;;
    esac
  done
  for word in "$@"; do
    if [[ $command == event-wait && $word == class=* ]]; then _xe_fields "${word#class=}" | sed 's/$/=/'; fi
  done
  echo --minimal
}

_xe() {
  # Help does not change, so the commands are asked for once in a shell.
  [[ -n ${_xe_commands-} ]] || _xe_commands="$(xe help --all --minimal 2>/dev/null)"
  local IFS=$'\n' line="${COMP_LINE:0:COMP_POINT}" word='' command='' skip='' item i
  local -a words offered=() _xe_options=()
  # The words are taken from the line, as bash splits COMP_WORDS at = and : too.
  mapfile -t words < <(sed 's/\\ /\x01/g; s/  */\n/g; s/\x01/ /g' <<<"$line")
  word="${words[-1]}"
  unset 'words[-1]'
  for ((i = 1; i < ${#words[@]}; i++)); do
    case "$skip${words[i]}" in
      skip*) skip='' && _xe_options+=("${words[i]}") ;;
      -s | -h | -p | -u | -pw | -pwf) skip=skip && _xe_options+=("${words[i]}") ;;
      -* | *=*) ;;
      *) command="${words[i]}" && break ;;
    esac
  done

  if [[ -n $skip ]]; then
    :
  elif [[ -z $command ]]; then
    offered=(help $(sed 's/,/\n/g' <<<"$_xe_commands"))
  elif [[ $command == help ]]; then
    offered=($(sed 's/,/\n/g' <<<"$_xe_commands"))
  elif [[ $word == *=* ]]; then
    local name="${word%%=*}" before="${word%%=*}="
    # The last of the names that params= has with commas between them.
    if [[ $word == params=*,* ]]; then before="${word%,*},"; fi
    mapfile -t offered < <(_xe_values_of "$command" "${name#--}")
    offered=("${offered[@]/#/$before}")
  else
    offered=($(_xe_parameters_as_written "$command" "${words[@]:1}"))
  fi

  # bash replaces only what follows the last character that breaks words.
  local broken=''
  if [[ $COMP_WORDBREAKS == *[=:]* ]]; then broken="${word%"${word##*[=:]}"}"; fi
  COMPREPLY=()
  for item in "${offered[@]}"; do
    [[ $item == "$word"* ]] || continue
    item="${item#"$broken"}"
    if [[ $item == *[!A-Za-z0-9_.,:=@%/+-]* ]]; then printf -v item '%q' "$item"; fi
    COMPREPLY+=("$item")
  done
  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]]; then compopt -o nospace 2>/dev/null; fi
}

complete -F _xe xe
