/* The pad book (src/noclone/apps/pad_book.py): no batch of pad is used twice.
 *
 * Two processes at the sender share its book; a receiver grants. What is durable: which batches the sender's book has,
 * which ones the receiver granted. What is not: what a process was granted. Everything may happen at any moment, and as
 * often as it likes: a crash of a process, an answer that is lost, a backup of either book, its restoration.
 *
 * Exhaustive:    spin -a pads.pml && cc -O2 -o pan pan.c && ./pan              no errors: one end alone is ever restored
 * The converse:  spin -a -DBOTH_ENDS pads.pml && cc -O2 -o pan pan.c && ./pan  an error: both ends restored forget together
 * And:           -DEAGER: where a sender uses a batch before its book forgets it, a crash and one restored end are enough.
 */

#define N 2
#ifdef BOTH_ENDS
#define WHOLE(other_restored) true
#else
#define WHOLE(other_restored) !other_restored
#endif

bool has[N] = true;      /* the sender's book, durable */
bool granted[N];         /* the receiver's book, durable */
byte used[N];            /* how often a batch was used to seal: what must not pass 1 */

bool has_copy[N], granted_copy[N];
bool sender_saved, receiver_saved, sender_restored, receiver_restored;

active [2] proctype Sender() {
    bool lease[N];       /* in memory */
    bool answer;
    byte i, j;

    do
    :: i = 0
    :: i = 1;
       if
       :: has[i] ->
            /* The receiver: one transaction, durable before it answers. */
            atomic { answer = !granted[i]; granted[i] = true }
            if
            :: skip      /* the answer is lost, or we crashed: nothing was taken */
            ::
#ifdef EAGER
               if
               :: answer -> used[i]++; assert(used[i] <= 1)
               :: else
               fi;
               if
               :: goto crashed
               :: skip
               fi;
#endif
               /* Our book: one transaction; of two processes only one finds the batch there. */
               atomic {
                   if
                   :: has[i] -> has[i] = false; lease[i] = answer
                   :: else
                   fi
               }
            fi
       :: else
       fi
    :: lease[0] -> lease[0] = false; used[0]++; assert(used[0] <= 1)
    :: lease[1] -> lease[1] = false; used[1]++; assert(used[1] <= 1)
    :: true ->           /* a crash */
crashed:
       for (j : 0 .. N - 1) { lease[j] = false }
    od
}

active proctype Disaster() {
    byte j;

    do
    :: atomic { for (j : 0 .. N - 1) { has_copy[j] = has[j] }; sender_saved = true }
    :: atomic { for (j : 0 .. N - 1) { granted_copy[j] = granted[j] }; receiver_saved = true }
    :: atomic { sender_saved && WHOLE(receiver_restored) ->
           for (j : 0 .. N - 1) { has[j] = has_copy[j] }; sender_restored = true }
    :: atomic { receiver_saved && WHOLE(sender_restored) ->
           for (j : 0 .. N - 1) { granted[j] = granted_copy[j] }; receiver_restored = true }
    od
}
