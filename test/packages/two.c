/* Two programs of app.c's, each with a heed of its own. */
int First(void);
int Second(void);

int main(void) { return First() || Second(); }
