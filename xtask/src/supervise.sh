# Runs a program for as long as standard input stays open, then stops it and deletes its folder.
# So it ends with the one who started it, however that one ended.
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
