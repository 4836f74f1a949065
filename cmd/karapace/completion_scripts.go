package main

// completionScripts are the scripts by shell. @SELF@ stands for the quoted path. Each asks karapace for candidates and leaves files
// and programs to the shell.
func completionScripts() map[string]string {
	return map[string]string{"bash": bashCompletions, "zsh": zshCompletions, "fish": fishCompletions, "elvish": elvishCompletions, "powershell": powershellCompletions}
}

// Readline breaks words at "=", and replaces only what stands behind it.
const bashCompletions = `_karapace() {
	local -a words=()
	local w glue= cur prefix= line value
	for w in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
		if [[ $w == = && ${#words[@]} -gt 0 ]]; then
			words[${#words[@]}-1]+==
			glue=1
		elif [[ $glue ]]; then
			words[${#words[@]}-1]+=$w
			glue=
		else
			words+=("$w")
		fi
	done
	cur=${words[${#words[@]}-1]}
	[[ $cur != *=* || $COMP_WORDBREAKS != *=* ]] || prefix=${cur%%=*}=
	COMPREPLY=()
	while IFS= read -r line; do
		case $line in
		:files*)
			compopt -o filenames 2>/dev/null
			while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "${cur#"$prefix"}")
			;;
		:commands*)
			while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -c -- "$cur")
			;;
		*)
			value=${line%%$'\t'*}
			COMPREPLY+=("${value#"$prefix"}")
			;;
		esac
	done < <(@SELF@ __complete -- "${words[@]}" 2>/dev/null)
}
complete -F _karapace karapace
`

const zshCompletions = `#compdef karapace
_karapace() {
	local -a candidates
	local line
	for line in "${(@f)$(@SELF@ __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
		case $line in
		'') ;;
		:files*) _files ;;
		:commands*) _command_names -e ;;
		*) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
		esac
	done
	(( ! $#candidates )) || _describe -t karapace karapace candidates
}
compdef _karapace karapace
`

const fishCompletions = `function __karapace_complete
	set -l words (commandline -opc) (commandline -ct)
	for line in (@SELF@ __complete -- $words[2..-1] 2>/dev/null)
		switch $line
			case ':files*'
				__fish_complete_path (commandline -ct)
			case ':commands*'
				__fish_complete_command
			case '*'
				printf '%s\n' $line
		end
	end
end
complete -c karapace -e
complete -c karapace -f -a '(__karapace_complete)'
`

const elvishCompletions = `use str
set edit:completion:arg-completer[karapace] = {|@words|
	try {
		@SELF@ __complete -- (all $words[1..]) 2>/dev/null | from-lines | each {|line|
			var value about = (str:split &max=2 "\t" $line)
			if (str:has-prefix $value :files) {
				edit:complete-filename $words[-1]
			} elif (str:has-prefix $value :commands) {
				edit:complete-sudo karapace $words[-1]
			} else {
				edit:complex-candidate $value &display=$value"  "$about
			}
		}
	} catch e {
		nop
	}
}
`

const powershellCompletions = `Register-ArgumentCompleter -Native -CommandName karapace -ScriptBlock {
	param($word, $ast, $cursor)
	$words = @($ast.CommandElements | Select-Object -Skip 1 | Where-Object { $_.Extent.EndOffset -le $cursor } | ForEach-Object { $_.ToString() })
	if ($word -eq '') { $words += '""' }
	& @SELF@ __complete '--' @words 2>$null | ForEach-Object {
		$value, $about = $_ -split "\t", 2
		if (-not $about) { $about = $value }
		if ($value -eq ':files') {
			Get-ChildItem -Name "$word*" | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_, $_, 'ProviderItem', $_) }
		} elseif ($value -eq ':commands') {
			Get-Command "$word*" | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_.Name, $_.Name, 'Command', $_.Name) }
		} else {
			[System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $about)
		}
	}
}
`
