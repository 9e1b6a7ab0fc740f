# Runs a program as long as standard input is open, then stops the program and deletes its folder.
# The program therefore ends with the process that started it, even if that process was killed.
#
# usage: sh -c "$this" supervise SIGNAL FOLDER PROGRAM [ARGUMENT]...

signal=$1 folder=$2
shift 2
exec 3<&0 </dev/null

"$@" 3<&- &
program=$!
(
    cat <&3 >/dev/null
    tenths=0
    while [ ! -e "$folder/exited" ]; do
        [ $((tenths % 100)) -ne 0 ] || kill -s "$signal" "$program"
        signal=KILL
        sleep 0.1
        tenths=$((tenths + 1))
    done
) 2>/dev/null &

wait "$program"
echo $? >"$folder/exited"
wait
rm -rf -- "$folder"
